#define HNSCORE_NS neon
#include "cpu/simd/neon.h"
#include "cpu/target-inl.h"

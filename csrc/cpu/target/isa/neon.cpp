#define HNSCORE_NS neon
#include "cpu/target/simd/neon.h"
#include "cpu/target/target-inl.h"

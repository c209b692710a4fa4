#define HNSCORE_NS avx2
#include "cpu/simd/avx2.h"
#include "cpu/target-inl.h"

#define HNSCORE_NS avx512
#include "cpu/simd/avx512.h"
#include "cpu/target-inl.h"

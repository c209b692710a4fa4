#define HNSCORE_NS avx512
#include "cpu/target/simd/avx512.h"
#include "cpu/target/target-inl.h"

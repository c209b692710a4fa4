#define HNSCORE_NS avx2
#include "cpu/target/simd/avx2.h"
#include "cpu/target/target-inl.h"

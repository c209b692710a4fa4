#define HNSCORE_NS scalar
#include "cpu/simd/scalar.h"
#include "cpu/target-inl.h"

#define HNSCORE_NS scalar
#include "cpu/target/simd/scalar.h"
#include "cpu/target/target-inl.h"

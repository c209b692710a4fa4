// One float as the Simd of the stages: a GPU thread's view of a pair.
#pragma once

#include <cmath>

#include "cuda/device/gpu.h"
#include "recipes/functions.h"

namespace hnscore {

struct Lane {
    using F32 = float;
    static HNSCORE_DEVICE float zero() { return 0.0f; }
    static HNSCORE_DEVICE float set1(float x) { return x; }
    static HNSCORE_DEVICE float add(float a, float b) { return a + b; }
    static HNSCORE_DEVICE float sub(float a, float b) { return a - b; }
    static HNSCORE_DEVICE float mul(float a, float b) { return a * b; }
    static HNSCORE_DEVICE float div(float a, float b) { return a / b; }
    static HNSCORE_DEVICE float fma(float a, float b, float c) { return std::fma(a, b, c); }
    static HNSCORE_DEVICE float fnma(float a, float b, float c) { return std::fma(-a, b, c); }
    static HNSCORE_DEVICE float min(float a, float b) { return a < b ? a : b; }
    static HNSCORE_DEVICE float max(float a, float b) { return a > b ? a : b; }
};

// Two units in the last place, and the rounding of x log2(e): |x| units, what a rounding of the gap costs too.
template <>
HNSCORE_DEVICE float exp_of<Lane>(float x) {
    return gpu::ex2(x * 1.44269504088896341f);
}

}  // namespace hnscore

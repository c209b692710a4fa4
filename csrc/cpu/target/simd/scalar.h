// No intrinsics: four lanes of plain C++ that any compiler turns into what the baseline machine has.
// A product and a sum are two roundings here, one on the other targets; the band allows for it.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace hnscore::scalar {

struct Simd {
    typedef float F32 __attribute__((vector_size(16)));
    using RowValue = F32;  // one value of a row, against a vector of columns
    typedef int32_t Mask __attribute__((vector_size(16)));
    static constexpr const char* kName = "scalar";
    static constexpr int kLanes = 4, kRows = 4, kVectors = 2;
    static constexpr bool kReadsF16 = false;
    static constexpr bool kSumsOnRegisters = false;
    static constexpr int64_t kBlockBytes = 128 * 1024;

    static inline F32 zero() { return F32{}; }
    static inline F32 set1(float x) { return F32{x, x, x, x}; }
    static inline F32 load(const float* p) { return *reinterpret_cast<const F32*>(p); }
    static inline void store(float* p, F32 a) { *reinterpret_cast<F32*>(p) = a; }
    static inline F32 add(F32 a, F32 b) { return a + b; }
    static inline F32 sub(F32 a, F32 b) { return a - b; }
    static inline F32 mul(F32 a, F32 b) { return a * b; }
    static inline F32 min(F32 a, F32 b) { return a < b ? a : b; }
    static inline F32 max(F32 a, F32 b) { return a > b ? a : b; }
    static inline F32 div(F32 a, F32 b) { return a / b; }
    static inline F32 exponent(F32 a) {  // of positive normal values
        return F32{std::logb(a[0]), std::logb(a[1]), std::logb(a[2]), std::logb(a[3])};
    }
    static inline F32 fma(F32 a, F32 b, F32 c) { return a * b + c; }
    static inline float fma(float a, float b, float c) { return a * b + c; }
    static inline F32 fnma(F32 a, F32 b, F32 c) { return c - a * b; }
    static inline RowValue row_value(float x) { return set1(x); }
    static inline F32 add_product(RowValue a, F32 b, F32 c) { return fma(a, b, c); }
    static inline F32 round(F32 a) {
        return F32{std::nearbyint(a[0]), std::nearbyint(a[1]), std::nearbyint(a[2]), std::nearbyint(a[3])};
    }
    static inline F32 pow2(F32 n) { return F32{pow2(n[0]), pow2(n[1]), pow2(n[2]), pow2(n[3])}; }
    // Products of the low halves of 64-bit lanes.
    typedef uint64_t U64 __attribute__((vector_size(16)));
    static inline U64 low_products(U64 a, U64 b) { return (a & 0xffffffffu) * (b & 0xffffffffu); }
    // Float32 values from anywhere as float64.
    typedef double F64 __attribute__((vector_size(16)));
    static inline F64 fma(F64 a, F64 b, F64 c) { return a * b + c; }
    static inline F64 widen(const void* p) {
        float values[2];
        std::memcpy(values, p, sizeof values);
        return F64{values[0], values[1]};
    }

    static inline F32 abs(F32 a) { return max(a, -a); }
    static inline Mask gt(F32 a, F32 b) { return a > b; }
    static inline Mask not_gt(F32 a, F32 b) { return ~(a > b); }  // true for NaN
    static inline Mask equal(const int32_t* p, int32_t x) {
        return *reinterpret_cast<const Mask*>(p) == Mask{x, x, x, x};
    }
    static inline Mask above(const int32_t* p, int32_t x) {
        return *reinterpret_cast<const Mask*>(p) > Mask{x, x, x, x};
    }
    static inline Mask mask_none() { return Mask{}; }
    static inline Mask mask_and(Mask a, Mask b) { return a & b; }
    static inline Mask mask_andnot(Mask a, Mask b) { return a & ~b; }
    static inline Mask mask_or(Mask a, Mask b) { return a | b; }
    static inline Mask mask_not(Mask a) { return ~a; }
    static inline F32 masked(Mask m, F32 a) { return m ? a : F32{}; }
    static inline void pin(F32&) {}
    static constexpr double kCodeProduct = 1;
    static constexpr int kCodeRows = 0;  // no tiles of codes
    static inline int32_t code_products(const int8_t* a, const int8_t* b, int64_t n) {
        int32_t sum = 0;
        for (int64_t k = 0; k < n; ++k) sum += a[k] * b[k];
        return sum;
    }
    static inline uint32_t bits(Mask m) { return (m[0] & 1) | (m[1] & 2) | (m[2] & 4) | (m[3] & 8); }

  private:
    static inline float pow2(float n) { return std::ldexp(1.0f, static_cast<int>(n)); }
};

}  // namespace hnscore::scalar

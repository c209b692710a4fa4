// The exact dot product of two rows, rows of packed formats: everything that touches a single row, compiled with each
// target's own flags. Loops are plain C++ that the compiler vectorises.
#pragma once

#include "cpu/kernels/read-inl.h"

namespace hnscore {
namespace HNSCORE_NS {

constexpr int kRowsAtOnce = kLanes >= 16 ? 4 : 1;  // of dots_f32: sums on registers

HNSCORE_INLINE double absolute(double x) { return __builtin_fabs(x); }
HNSCORE_INLINE Doubles absolute(Doubles x) {
    typedef long long Bits __attribute__((vector_size(sizeof(Doubles))));
    return reinterpret_cast<Doubles>(reinterpret_cast<Bits>(x) & 0x7fffffffffffffffLL);
}

// sum + x as an unevaluated pair (Knuth): the rounding error goes to `low`, its size to `magnitude`.
template <class T>
HNSCORE_INLINE void add_exactly(T x, T& sum, T& low, T& magnitude) {
    const T total = sum + x, part = total - sum;
    const T error = (sum - (total - part)) + (x - part);
    sum = total;
    low += error;
    magnitude += absolute(error);
}

// Four sums side by side: one would wait for each addition. a(k) and b(k) give Doubles, or one double at the end.
template <class A, class B>
HNSCORE_INLINE double plain_dot(int64_t n, A a, B b) {
    Doubles sum[4] = {};
    int64_t k = 0;
    for (; k + 4 * kDoubles <= n; k += 4 * kDoubles)
        for (int s = 0; s < 4; ++s) sum[s] += a.lanes(k + s * kDoubles) * b.lanes(k + s * kDoubles);
    double total = 0;
    for (; k < n; ++k) total += a.value(k) * b.value(k);
    const Doubles lanes = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    for (int l = 0; l < kDoubles; ++l) total += lanes[l];
    return total;
}
struct DoubleValues {
    const double* p;
    HNSCORE_INLINE Doubles lanes(int64_t k) const { return load_doubles(p + k); }
    HNSCORE_INLINE double value(int64_t k) const { return p[k]; }
};
struct FloatValues {  // anywhere
    const char* p;
    HNSCORE_INLINE Doubles lanes(int64_t k) const { return static_cast<Doubles>(Simd::widen(p + k * 4)); }
    HNSCORE_INLINE double value(int64_t k) const { return static_cast<double>(load_element<float>(p + k * 4, false)); }
};
inline double dot(const double* a, const double* b, int64_t n) {
    return plain_dot(n, DoubleValues{a}, DoubleValues{b});
}
inline double dot_f32(const double* a, const void* b, int64_t n) {
    return plain_dot(n, DoubleValues{a}, FloatValues{static_cast<const char*>(b)});
}
inline double norm2_f32(const void* x, int64_t n) {
    const FloatValues values{static_cast<const char*>(x)};
    return plain_dot(n, values, values);
}
inline double distance2(const double* a, double factor_a, const double* b, double factor_b, int64_t n) {
    Doubles sum[4] = {};
    int64_t k = 0;
    for (; k + 4 * kDoubles <= n; k += 4 * kDoubles)
        for (int s = 0; s < 4; ++s) {
            const int64_t at = k + s * kDoubles;
            const Doubles d = load_doubles(a + at) * factor_a - load_doubles(b + at) * factor_b;
            sum[s] += d * d;
        }
    double total = 0;
    for (; k < n; ++k) {
        const double d = a[k] * factor_a - b[k] * factor_b;
        total += d * d;
    }
    const Doubles lanes = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    for (int l = 0; l < kDoubles; ++l) total += lanes[l];
    return total;
}
// The sum of 32 lanes, halves added to halves.
HNSCORE_INLINE float sum_of_lanes(const float* lanes) {
    typedef float Four __attribute__((vector_size(16)));
    Four part[8];
    std::memcpy(part, lanes, sizeof part);
    const Four q = ((part[0] + part[4]) + (part[1] + part[5])) + ((part[2] + part[6]) + (part[3] + part[7]));
    return (q[0] + q[2]) + (q[1] + q[3]);
}

// 32 lanes a row: vectors of the target, as many as that takes.
inline void dots_f32(const float* column, const float* const rows[4], const float* const next[4], int64_t n,
                     float out[4]) {
    constexpr int kSide = 32 / kLanes;
    for (int r = 0; r < 4; ++r) out[r] = 0;
    for (int64_t first = 0; first < n; first += kSegment) {
        const int64_t end = n < first + kSegment ? n : first + kSegment;
        alignas(64) float lanes[4][32];
        for (int r0 = 0; r0 < 4; r0 += kRowsAtOnce) {
            Simd::F32 sums[kRowsAtOnce][kSide];
#pragma GCC unroll 4
            for (int r = 0; r < kRowsAtOnce; ++r)
#pragma GCC unroll 8
                for (int v = 0; v < kSide; ++v) sums[r][v] = Simd::zero();
            for (int64_t k = first; k < end; k += 32)
#pragma GCC unroll 8
                for (int v = 0; v < kSide; ++v) {
                    const Simd::F32 t = Simd::load(column + k + v * kLanes);
#pragma GCC unroll 4
                    for (int r = 0; r < kRowsAtOnce; ++r) {
                        if (v * kLanes % 16 == 0) __builtin_prefetch(next[r0 + r] + k + v * kLanes);
                        Simd::F32 x;  // anywhere
                        std::memcpy(&x, rows[r0 + r] + k + v * kLanes, sizeof x);
                        sums[r][v] = Simd::fma(x, t, sums[r][v]);
                    }
                }
#pragma GCC unroll 4
            for (int r = 0; r < kRowsAtOnce; ++r)
#pragma GCC unroll 8
                for (int v = 0; v < kSide; ++v) Simd::store(lanes[r0 + r] + v * kLanes, sums[r][v]);
        }
        for (int r = 0; r < 4; ++r) out[r] += sum_of_lanes(lanes[r]);
    }
}
inline void round_to_bf16(int64_t n, float* x) {
    for (int64_t k = 0; k < n; ++k) {
        uint32_t bits;
        std::memcpy(&bits, x + k, 4);
        bits = (bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff0000u;  // to nearest even
        std::memcpy(x + k, &bits, 4);
    }
}
inline void scale_f32(const void* x, int64_t n, float factor, bool round_bf16, float* out) {
    const char* p = static_cast<const char*>(x);
    for (int64_t k = 0; k < n; ++k) out[k] = load_element<float>(p + k * 4, false) * factor;
    if (round_bf16) round_to_bf16(n, out);
}

inline PairSum dot_pair(const double* a, const double* b, int64_t n, bool wide) {
    Doubles sum = {}, low = {}, magnitude = {};
    PairSum out{0, 0, 0};
    int64_t k = 0;
    for (; k + kDoubles <= n; k += kDoubles)
        add_exactly(load_doubles(a + k) * load_doubles(b + k), sum, low, magnitude);
    for (; k < n; ++k) add_exactly(a[k] * b[k], out.hi, out.lo, out.magnitude);
    for (int l = 0; l < kDoubles; ++l) {
        add_exactly(sum[l], out.hi, out.lo, out.magnitude);
        out.lo += low[l];
        out.magnitude += magnitude[l];
    }
    if (!wide) return out;
    // Products of wide values are rounded; a fused multiply-add gives what they lost, unless that underflowed.
    bool lost = false;
    for (k = 0; k < n; ++k) {
        const double product = a[k] * b[k], error = __builtin_fma(a[k], b[k], -product);
        lost |= a[k] != 0 && b[k] != 0 && __builtin_fabs(product) < 0x1p-960;
        out.lo += error;
        out.magnitude += __builtin_fabs(error);
    }
    if (lost) out.magnitude = __builtin_inf();
    return out;
}

inline void scale_row(const double* x, int64_t n, int exponent, bool round_bf16, float* out) {
    // Two factors, since 2^-exponent alone need not be a float64.
    const int half = -exponent / 2;
    const double first = __builtin_ldexp(1.0, half), second = __builtin_ldexp(1.0, -exponent - half);
    for (int64_t k = 0; k < n; ++k) out[k] = static_cast<float>(x[k] * first * second);
    if (round_bf16) round_to_bf16(n, out);
}

inline double fma_burst(int64_t iterations) {
    Simd::F32 acc[kRows][kVectors];
    for (int r = 0; r < kRows; ++r)
        for (int v = 0; v < kVectors; ++v) acc[r][v] = Simd::set1(static_cast<float>(r + v));
    // Opaque operands: nothing is known of them, so that nothing is folded or skipped.
    float values[2] = {0.5f, 1e-3f};
    __asm__ volatile("" : : "r"(values) : "memory");
    const Simd::F32 a = Simd::set1(values[0]), b = Simd::set1(values[1]);
    for (int64_t i = 0; i < iterations; ++i) {
#pragma GCC unroll 16
        for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
            for (int v = 0; v < kVectors; ++v) acc[r][v] = Simd::fma(a, acc[r][v], b);
    }
    alignas(64) float sink[kLanes];
    for (int r = 0; r < kRows; ++r)
        for (int v = 0; v < kVectors; ++v) {
            Simd::store(sink, acc[r][v]);
            __asm__ volatile("" : : "r"(sink) : "memory");
        }
    return 2.0 * kRows * kCols * static_cast<double>(iterations);
}

}  // namespace HNSCORE_NS
}  // namespace hnscore

// Bounds, in float32, on kernels and on what a row would add to what covers the points (csrc/select).
#pragma once

#include <cstring>

#include "cover/kernel_code.h"
#include "cpu/kernels/common-inl.h"
#include "recipes/functions.h"

namespace hnscore {
namespace HNSCORE_NS {

typedef uint32_t Words __attribute__((vector_size(sizeof(Simd::F32))));
typedef uint16_t HalfWords __attribute__((vector_size(sizeof(Simd::F32) / 2)));

HNSCORE_INLINE Simd::F32 load_kernels(const uint16_t* p) {
    HalfWords half;
    std::memcpy(&half, p, sizeof half);
    return reinterpret_cast<Simd::F32>((__builtin_convertvector(half, Words) + kKernelBase) << kKernelShift);
}

// Of one row with n columns, s_j = min(acc row_scale scales_j + slack, 1): kernel(s) rounded up.
template <class Kernel>
HNSCORE_INLINE void upper_codes(const float* acc, int64_t n, const float* scales, float row_scale, float slack,
                                uint16_t* out, const Kernel& kernel_of_cosine) {
    const Simd::F32 one = Simd::set1(1.0f), least = Simd::set1(0x1p-31f);
    const Simd::F32 of_row = Simd::set1(row_scale), more = Simd::set1(slack);
    for (int64_t j = 0; j < n; j += kLanes) {
        const Simd::F32 scaled = Simd::mul(Simd::load(acc + j), Simd::mul(of_row, Simd::load(scales + j)));
        const Simd::F32 kernel = kernel_of_cosine(Simd::min(Simd::add(scaled, more), one));
        const Words bits = reinterpret_cast<Words>(Simd::min(Simd::max(kernel, least), one));
        const Words code = ((bits + ((1u << kKernelShift) - 1)) >> kKernelShift) - kKernelBase;
        const HalfWords half = __builtin_convertvector(code, HalfWords);
        std::memcpy(out + j, &half, sizeof half);
    }
}

// exp((s - 1) rate); rate below 0: s. The exponent's two roundings are 2^-23 of it, exp_of is off by about 1 unit in
// the last place: kDown and kUp are twice that and more.
inline void upper_kernels(const float* acc, int64_t n, const float* scales, float row_scale, float slack, float rate,
                          uint16_t* out) {
    constexpr float kDown = 1 - 0x1p-21f, kUp = 1 + 0x1p-21f;
    const Simd::F32 one = Simd::set1(1.0f), up = Simd::set1(kUp), factor = Simd::set1(rate * kDown);
    if (rate < 0) return upper_codes(acc, n, scales, row_scale, slack, out, [](Simd::F32 s) { return s; });
    upper_codes(acc, n, scales, row_scale, slack, out,
                [&](Simd::F32 s) { return Simd::mul(exp_of<Simd>(Simd::mul(Simd::sub(s, one), factor)), up); });
}

// Sums of vectors over j, `add(j, sum)` each, on lanes that are added at the end; n is a multiple of kLanes.
template <class Add>
HNSCORE_INLINE float sum_of_vectors(int64_t n, const Add& add) {
    constexpr int kSums = 4;
    Simd::F32 sums[kSums];
    for (Simd::F32& sum : sums) sum = Simd::zero();
    int64_t j = 0;
    for (; j + kSums * kLanes <= n; j += kSums * kLanes)
#pragma GCC unroll 4
        for (int i = 0; i < kSums; ++i) add(j + i * kLanes, sums[i]);
    for (; j < n; j += kLanes) add(j, sums[0]);
    alignas(64) float lanes[kLanes];
    Simd::store(lanes, Simd::add(Simd::add(sums[0], sums[1]), Simd::add(sums[2], sums[3])));
    float total = 0;
    for (const float lane : lanes) total += lane;
    return total;
}

HNSCORE_INLINE void add_weighted(const float* weights, int64_t j, Simd::F32 term, Simd::F32& sum) {
    sum = weights == nullptr ? Simd::add(sum, term) : Simd::fma(Simd::load(weights + j), term, sum);
}

// sum_j weights_j max(kernels_j - floor_j, 0), the weights 1 where there are none, and how many kernels are above.
inline float gain(const uint16_t* kernels, const float* floor, const float* weights, int64_t n, float* above) {
    const Simd::F32 one = Simd::set1(1.0f), huge = Simd::set1(0x1p60f);  // no difference of two of these is so small
    Simd::F32 counts = Simd::zero();
    const float total = sum_of_vectors(n, [&](int64_t j, Simd::F32& sum) {
        const Simd::F32 term = Simd::max(Simd::sub(load_kernels(kernels + j), Simd::load(floor + j)), Simd::zero());
        counts = Simd::add(counts, Simd::min(Simd::mul(term, huge), one));
        add_weighted(weights, j, term, sum);
    });
    alignas(64) float lanes[kLanes];
    Simd::store(lanes, counts);
    *above = 0;
    for (const float lane : lanes) *above += lane;
    return total;
}

// sum_j weights_j (min(max(factor kernels_j - less, from_j), to_j) - from_j), where from_j <= to_j.
inline float fall(const uint16_t* kernels, float factor_, float less_, const float* from, const float* to,
                  const float* weights, int64_t n) {
    const Simd::F32 factor = Simd::set1(factor_), less = Simd::set1(less_);
    return sum_of_vectors(n, [&](int64_t j, Simd::F32& sum) {
        const Simd::F32 low = Simd::load(from + j),
                        kernel = Simd::sub(Simd::mul(load_kernels(kernels + j), factor), less);
        add_weighted(weights, j, Simd::sub(Simd::min(Simd::max(kernel, low), Simd::load(to + j)), low), sum);
    });
}

}  // namespace HNSCORE_NS
}  // namespace hnscore

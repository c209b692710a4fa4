// One pair of Gaussians: float64 sums over its dimensions, float32 draws and their distances; compiled per target.
// Loops of kPlaneStep values are plain C++ that the compiler vectorises. The width of a register changes no bit of a
// result, only a target without fused multiply-adds does.
#pragma once

#include "cpu/kernels/rows-inl.h"
#include "cpu/target/gaussian.h"

namespace hnscore {
namespace HNSCORE_NS {

inline GaussianSums gaussian_sums(const double* m, const double* v, const double* mt, const double* vt, int64_t dim) {
    double means[kPlaneStep] = {}, deviations[kPlaneStep] = {}, img[kPlaneStep] = {}, txt[kPlaneStep] = {};
    double img_least = 0, txt_least = 0;
    const auto add = [&](int64_t k, int l) {
        const double mean = m[k] - mt[k], deviation = __builtin_sqrt(v[k]) - __builtin_sqrt(vt[k]);
        means[l] += mean * mean;
        deviations[l] += deviation * deviation;
        img[l] += v[k];
        txt[l] += vt[k];
    };
    int64_t k = 0;
    for (; k + kPlaneStep <= dim; k += kPlaneStep)
        for (int l = 0; l < kPlaneStep; ++l) add(k + l, l);
    for (; k < dim; ++k) add(k, 0);
    for (k = 0; k < dim; ++k) {
        img_least = v[k] < img_least ? v[k] : img_least;
        txt_least = vt[k] < txt_least ? vt[k] : txt_least;
    }
    GaussianSums out{0, 0, 0, 0, img_least < 0, txt_least < 0};
    for (int l = 0; l < kPlaneStep; ++l) {
        out.means += means[l];
        out.deviations += deviations[l];
        out.img_var += img[l];
        out.txt_var += txt[l];
    }
    return out;
}

// value(k) of each dimension, in planes.
template <class Value>
HNSCORE_INLINE void fill_planes(int64_t dim, float* planes, Value value) {
    const int64_t length = plane_length(dim), whole = dim / 4;
    for (int64_t b = 0; b < whole; ++b)
        for (int q = 0; q < 4; ++q) planes[q * length + b] = value(4 * b + q);
    for (int q = 0; q < 4; ++q)
        for (int64_t b = whole; b < length; ++b) planes[q * length + b] = 4 * b + q < dim ? value(4 * b + q) : 0.0f;
}
inline void gaussian_means(const double* a, const double* b, int64_t dim, double factor, float* planes) {
    fill_planes(dim, planes, [=](int64_t k) { return static_cast<float>((a[k] - b[k]) * factor); });
}
inline void gaussian_deviations(const double* var, int64_t dim, double factor, float* planes) {
    fill_planes(dim, planes, [=](int64_t k) { return __builtin_sqrtf(static_cast<float>(var[k] * factor * factor)); });
}

// Words 0 and 2 of kPlaneStep blocks lie side by side, and so do words 1 and 3, which belong to them.
constexpr int place_of(int q) { return (q % 2 * 2 + q / 2) * kPlaneStep; }

// The words of kPlaneStep blocks from `first` on. A 64-bit lane holds a block's word in its low half and
// whatever a product left in its high half, so that a round needs no shuffle: two blocks a 64-bit lane pair, the even
// ones in one vector and the odd ones in another.
HNSCORE_INLINE void philox(const uint32_t key[2], int64_t row, uint32_t stream, int64_t first, uint32_t* words) {
    using U64 = Simd::U64;
    for (int at = 0; at < kPlaneStep; at += kLanes) {
        U64 state[2][4];
        for (int odd = 0; odd < 2; ++odd) {
            state[odd][0] = U64{} + static_cast<uint64_t>(row);
            state[odd][1] = U64{} + (static_cast<uint64_t>(row) >> 32);
            state[odd][2] = U64{} + stream;
            for (int l = 0; l < kLanes / 2; ++l) state[odd][3][l] = static_cast<uint64_t>(first + at + 2 * l + odd);
        }
        uint32_t k0 = key[0], k1 = key[1];
#pragma GCC unroll 10
        for (int round = 0; round < 10; ++round) {
#pragma GCC unroll 2
            for (int odd = 0; odd < 2; ++odd) {
                U64* c = state[odd];
                const U64 p0 = Simd::low_products(c[0], U64{} + 0xD2511F53u);
                const U64 p1 = Simd::low_products(c[2], U64{} + 0xCD9E8D57u);
                c[0] = (p1 >> 32) ^ c[1] ^ (U64{} + k0);
                c[1] = p1;
                c[2] = (p0 >> 32) ^ c[3] ^ (U64{} + k1);
                c[3] = p0;
            }
            k0 += 0x9E3779B9u;
            k1 += 0xBB67AE85u;
        }
        for (int q = 0; q < 4; ++q) {
            const U64 both = (state[0][q] & 0xffffffffu) | state[1][q] << 32;
            std::memcpy(words + place_of(q) + at, &both, sizeof both);
        }
    }
}

HNSCORE_INLINE float fma(float a, float b, float c) { return Simd::fma(a, b, c); }
HNSCORE_INLINE float as_float(uint32_t bits) {
    float x;
    std::memcpy(&x, &bits, 4);
    return x;
}
HNSCORE_INLINE uint32_t as_bits(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    return bits;
}

// log u for a normal u: with u = 2^e (1 + f), 1 + f in [sqrt 1/2, sqrt 2), e log 2 + f - f^2/2 + f^3 P(f), where P
// is the polynomial of Cephes (Moshier): within 2 units in the last place.
HNSCORE_INLINE float log_of(float u) {
    constexpr uint32_t kRootHalf = 0x3f3504f3u;
    const int32_t offset = static_cast<int32_t>(as_bits(u) - kRootHalf);
    const float e = static_cast<float>(offset >> 23);
    const float f = as_float((static_cast<uint32_t>(offset) & 0x7fffffu) + kRootHalf) - 1.0f;
    const float f2 = f * f;
    float p = 7.0376836292e-2f;
    p = fma(p, f, -1.1514610310e-1f);
    p = fma(p, f, 1.1676998740e-1f);
    p = fma(p, f, -1.2420140846e-1f);
    p = fma(p, f, 1.4249322787e-1f);
    p = fma(p, f, -1.6668057665e-1f);
    p = fma(p, f, 2.0000714765e-1f);
    p = fma(p, f, -2.4999993993e-1f);
    p = fma(p, f, 3.3333331174e-1f);
    // log 2 in two parts, so that e times the first is exact.
    const float small = fma(-0.5f, f2, fma(e, -2.12194440e-4f, p * f * f2));
    return fma(e, 0.693359375f, f + small);
}

// The cosine and sine of the angle 2 pi n / 2^24: a quarter turn and what is left of it, at most an eighth of a turn
// either way and an integer, so that nothing is lost; then the polynomials of Cephes, within 2 units in the last place.
HNSCORE_INLINE void cos_sin(uint32_t n, float& cosine, float& sine) {
    const uint32_t quarter = (n + (1u << 21)) >> 22;
    const float x = static_cast<float>(static_cast<int32_t>(n) - static_cast<int32_t>(quarter << 22)) * 3.7450704e-7f;
    const float z = x * x;
    const float s = fma(fma(fma(-1.9515295891e-4f, z, 8.3321608736e-3f), z, -1.6666654611e-1f), z * x, x);
    const float tail = fma(fma(2.443315711809948e-5f, z, -1.388731625493765e-3f), z, 4.166664568298827e-2f);
    const float c = fma(tail, z * z, fma(-0.5f, z, 1.0f));
    const bool swap = (quarter & 1) != 0;
    cosine = as_float(as_bits(swap ? s : c) ^ ((quarter + 1) & 2) << 30);
    sine = as_float(as_bits(swap ? c : s) ^ (quarter & 2) << 30);
}

// Two normals from words w and w' for each of 2 kPlaneStep lanes.
HNSCORE_INLINE void box_muller(const uint32_t* __restrict w, float* __restrict normals) {
    for (int l = 0; l < 2 * kPlaneStep; ++l) {
        const float u = fma(static_cast<float>(static_cast<int32_t>(w[l] >> 9)), 0x1p-23f, 0x1p-24f);
        const float r = __builtin_sqrtf(-2.0f * log_of(u));
        float cosine, sine;
        cos_sin(w[2 * kPlaneStep + l] >> 8, cosine, sine);
        normals[l] = r * cosine;
        normals[2 * kPlaneStep + l] = r * sine;
    }
}

inline void gaussian_draw(const float* __restrict mean, const float* __restrict deviation, int64_t length,
                          const uint32_t key[2], int64_t row, uint32_t stream, float* __restrict out) {
    for (int64_t b = 0; b < length; b += kPlaneStep) {
        // Words 0 and 2, then 1 and 3; normals of planes 0 and 2, then 1 and 3.
        alignas(64) uint32_t words[4 * kPlaneStep];
        alignas(64) float normals[4 * kPlaneStep];
        philox(key, row, stream, b, words);
        box_muller(words, normals);
#pragma GCC unroll 4
        for (int q = 0; q < 4; ++q) {
            const int64_t at = q * length + b;
            const float* normal = normals + place_of(q);
            for (int l = 0; l < kPlaneStep; l += kLanes)
                Simd::store(out + at + l, Simd::fma(Simd::load(deviation + at + l), Simd::load(normal + l),
                                                    Simd::load(mean + at + l)));
        }
    }
}

// 64 sums side by side, joined by halves.
inline void gaussian_distances2(const float* a, const float* b, int64_t count, int64_t n, float* out) {
    constexpr int kSums = 4 * kPlaneStep / kLanes;
    for (int64_t s = 0; s < count; ++s) {
        const float* point = b + s * n;
        Simd::F32 sum[kSums];
        for (int c = 0; c < kSums; ++c) sum[c] = Simd::zero();
        for (int64_t k = 0; k < n; k += 4 * kPlaneStep)
#pragma GCC unroll 16
            for (int c = 0; c < kSums; ++c) {
                const Simd::F32 d = Simd::sub(Simd::load(a + k + c * kLanes), Simd::load(point + k + c * kLanes));
                sum[c] = Simd::fma(d, d, sum[c]);
            }
#pragma GCC unroll 4
        for (int h = kSums / 2; h > 0; h /= 2)
#pragma GCC unroll 8
            for (int c = 0; c < h; ++c) sum[c] = Simd::add(sum[c], sum[c + h]);
        alignas(64) float lanes[kLanes];
        Simd::store(lanes, sum[0]);
        for (int h = kLanes / 2; h > 0; h /= 2)
            for (int l = 0; l < h; ++l) lanes[l] += lanes[l + h];
        out[s] = lanes[0];
    }
}

constexpr GaussianKernels kGaussians = {gaussian_sums, gaussian_means, gaussian_deviations, gaussian_draw,
                                        gaussian_distances2};

}  // namespace HNSCORE_NS
}  // namespace hnscore

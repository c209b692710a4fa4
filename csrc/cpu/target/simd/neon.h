// 128-bit vectors: 7 x 3 accumulators, 3 column vectors and 7 row values are 31 of 32 registers (8 x 3 spills three).
#pragma once

#include <arm_neon.h>

#include <cstdint>
#include <cstring>

namespace hnscore::neon {

struct Simd {
    using F32 = float32x4_t;
    // One value of a row, against a vector of columns: multiplied by element, since a load that broadcasts takes no
    // offset and would need a pointer a row.
    using RowValue = float;
    using Mask = uint32x4_t;
    static constexpr const char* kName = "neon";
    static constexpr int kLanes = 4, kRows = 7, kVectors = 3;
    static constexpr bool kReadsF16 = true;
    static constexpr bool kSumsOnRegisters = false;
    static constexpr int64_t kBlockBytes = 256 * 1024;

    static inline F32 zero() { return vdupq_n_f32(0); }
    static inline F32 set1(float x) { return vdupq_n_f32(x); }
    static inline F32 load(const float* p) { return vld1q_f32(p); }
    static inline void store(float* p, F32 a) { vst1q_f32(p, a); }
    static inline F32 add(F32 a, F32 b) { return vaddq_f32(a, b); }
    static inline F32 sub(F32 a, F32 b) { return vsubq_f32(a, b); }
    static inline F32 mul(F32 a, F32 b) { return vmulq_f32(a, b); }
    static inline F32 min(F32 a, F32 b) { return vminq_f32(a, b); }
    static inline F32 max(F32 a, F32 b) { return vmaxq_f32(a, b); }
    static inline F32 div(F32 a, F32 b) { return vdivq_f32(a, b); }
    static inline F32 exponent(F32 a) {  // of positive normal values
        const int32x4_t biased = vreinterpretq_s32_u32(vshrq_n_u32(vreinterpretq_u32_f32(a), 23));
        return vcvtq_f32_s32(vsubq_s32(biased, vdupq_n_s32(127)));
    }
    static inline F32 fma(F32 a, F32 b, F32 c) { return vfmaq_f32(c, a, b); }
    static inline float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
    static inline F32 fnma(F32 a, F32 b, F32 c) { return vfmsq_f32(c, a, b); }
    static inline RowValue row_value(float x) { return x; }
    static inline F32 add_product(RowValue a, F32 b, F32 c) { return vfmaq_n_f32(c, b, a); }
    static inline F32 round(F32 a) { return vrndnq_f32(a); }
    static inline F32 pow2(F32 n) {
        return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127)), 23));
    }
    // Float16 values from anywhere as float32.
    static inline F32 from_f16(const void* p) {
        uint16_t values[4];
        std::memcpy(values, p, sizeof values);
        return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(values)));
    }
    static inline float64x2_t fma(float64x2_t a, float64x2_t b, float64x2_t c) { return vfmaq_f64(c, a, b); }
    // Products of the low halves of 64-bit lanes.
    using U64 = uint64x2_t;
    static inline U64 low_products(U64 a, U64 b) { return vmull_u32(vmovn_u64(a), vmovn_u64(b)); }
    // Float32 values from anywhere as float64.
    static inline float64x2_t widen(const void* p) {
        float values[2];
        std::memcpy(values, p, sizeof values);
        return vcvt_f64_f32(vld1_f32(values));
    }

    static inline F32 abs(F32 a) { return vabsq_f32(a); }
    static inline Mask gt(F32 a, F32 b) { return vcgtq_f32(a, b); }
    static inline Mask not_gt(F32 a, F32 b) { return vmvnq_u32(vcgtq_f32(a, b)); }  // true for NaN
    static inline Mask equal(const int32_t* p, int32_t x) { return vceqq_s32(vld1q_s32(p), vdupq_n_s32(x)); }
    static inline Mask above(const int32_t* p, int32_t x) { return vcgtq_s32(vld1q_s32(p), vdupq_n_s32(x)); }
    static inline Mask mask_none() { return vdupq_n_u32(0); }
    static inline Mask mask_and(Mask a, Mask b) { return vandq_u32(a, b); }
    static inline Mask mask_andnot(Mask a, Mask b) { return vbicq_u32(a, b); }  // a and not b
    static inline Mask mask_or(Mask a, Mask b) { return vorrq_u32(a, b); }
    static inline Mask mask_not(Mask a) { return vmvnq_u32(a); }
    static inline F32 masked(Mask m, F32 a) {  // 0 where not m
        return vreinterpretq_f32_u32(vandq_u32(m, vreinterpretq_u32_f32(a)));
    }
    static inline void pin(F32& a) { __asm__ volatile("" : "+w"(a) : : "memory"); }  // is on a register here
    // Sums of products of 8-bit codes in [-127, 127], n a multiple of 64: four instructions for 16 of them.
    static constexpr double kCodeProduct = 4.0 / 16;
    static constexpr int kCodeRows = 0;  // no tiles of codes
    static inline int32_t code_products(const int8_t* a, const int8_t* b, int64_t n) {
        int32x4_t sums[2] = {vdupq_n_s32(0), vdupq_n_s32(0)};
        for (int64_t k = 0; k < n; k += 16) {
            const int8x16_t x = vld1q_s8(a + k), y = vld1q_s8(b + k);
            sums[0] = vpadalq_s16(sums[0], vmull_s8(vget_low_s8(x), vget_low_s8(y)));
            sums[1] = vpadalq_s16(sums[1], vmull_s8(vget_high_s8(x), vget_high_s8(y)));
        }
        return vaddvq_s32(vaddq_s32(sums[0], sums[1]));
    }
    static inline uint32_t bits(Mask m) {
        const uint32x4_t weight = {1, 2, 4, 8};
        return vaddvq_u32(vandq_u32(m, weight));
    }
};

}  // namespace hnscore::neon

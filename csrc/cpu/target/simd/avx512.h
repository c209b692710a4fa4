// 512-bit vectors: 14 accumulators, 14 chunk sums and 1 column vector are 29 of 32 registers; row values come with the
// multiply-add as broadcast operands. A tile of 14 x 2 with its sums in memory needs chunks four times as long for the
// same rate: Zen 4 stores a 512-bit vector every other cycle only.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace hnscore::avx512 {

struct Simd {
    using F32 = __m512;
    using RowValue = F32;  // one value of a row, against a vector of columns
    using Mask = __mmask16;
    static constexpr const char* kName = "avx512";
    static constexpr int kLanes = 16, kRows = 14, kVectors = 1;
    static constexpr bool kReadsF16 = true;
    static constexpr bool kSumsOnRegisters = true;
    static constexpr int64_t kBlockBytes = 512 * 1024;

    static inline F32 zero() { return _mm512_setzero_ps(); }
    static inline F32 set1(float x) { return _mm512_set1_ps(x); }
    static inline F32 load(const float* p) { return _mm512_load_ps(p); }
    static inline void store(float* p, F32 a) { _mm512_store_ps(p, a); }
    static inline F32 add(F32 a, F32 b) { return _mm512_add_ps(a, b); }
    static inline F32 sub(F32 a, F32 b) { return _mm512_sub_ps(a, b); }
    static inline F32 mul(F32 a, F32 b) { return _mm512_mul_ps(a, b); }
    static inline F32 min(F32 a, F32 b) { return _mm512_min_ps(a, b); }
    static inline F32 max(F32 a, F32 b) { return _mm512_max_ps(a, b); }
    static inline F32 div(F32 a, F32 b) { return _mm512_div_ps(a, b); }
    static inline F32 exponent(F32 a) { return _mm512_getexp_ps(a); }  // of positive normal values
    static inline F32 fma(F32 a, F32 b, F32 c) { return _mm512_fmadd_ps(a, b, c); }
    static inline float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
    static inline F32 fnma(F32 a, F32 b, F32 c) { return _mm512_fnmadd_ps(a, b, c); }
    static inline RowValue row_value(float x) { return set1(x); }
    static inline F32 add_product(RowValue a, F32 b, F32 c) { return fma(a, b, c); }
    static inline F32 round(F32 a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT); }
    static inline F32 pow2(F32 n) { return _mm512_scalef_ps(_mm512_set1_ps(1.0f), n); }
    // Float16 values from anywhere as float32.
    static inline F32 from_f16(const void* p) {
        return _mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
    }
    static inline __m512d fma(__m512d a, __m512d b, __m512d c) { return _mm512_fmadd_pd(a, b, c); }
    // Products of the low halves of 64-bit lanes.
    typedef uint64_t U64 __attribute__((vector_size(64)));
    static inline U64 low_products(U64 a, U64 b) {
        return reinterpret_cast<U64>(_mm512_mul_epu32(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
    }
    // Float32 values from anywhere as float64.
    static inline __m512d widen(const void* p) {
        return _mm512_cvtps_pd(_mm256_loadu_ps(static_cast<const float*>(p)));
    }

    static inline F32 abs(F32 a) { return _mm512_abs_ps(a); }
    static inline Mask gt(F32 a, F32 b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
    static inline Mask not_gt(F32 a, F32 b) { return _mm512_cmp_ps_mask(a, b, _CMP_NGT_UQ); }  // true for NaN
    static inline Mask equal(const int32_t* p, int32_t x) {
        return _mm512_cmpeq_epi32_mask(_mm512_load_si512(p), _mm512_set1_epi32(x));
    }
    static inline Mask above(const int32_t* p, int32_t x) {
        return _mm512_cmpgt_epi32_mask(_mm512_load_si512(p), _mm512_set1_epi32(x));
    }
    static inline Mask mask_none() { return 0; }
    static inline Mask mask_and(Mask a, Mask b) { return _kand_mask16(a, b); }
    static inline Mask mask_andnot(Mask a, Mask b) { return _kandn_mask16(b, a); }  // a and not b
    static inline Mask mask_or(Mask a, Mask b) { return _kor_mask16(a, b); }
    static inline Mask mask_not(Mask a) { return _knot_mask16(a); }
    static inline F32 masked(Mask m, F32 a) { return _mm512_maskz_mov_ps(m, a); }    // 0 where not m
    static inline void pin(F32& a) { __asm__ volatile("" : "+v"(a) : : "memory"); }  // is on a register here
    // Sums of products of 8-bit codes in [-127, 127], n a multiple of 64: five instructions for 32 of them. A pair of
    // |a| b with the sign of a is at most 32258, which int16 holds.
    static constexpr double kCodeProduct = 5.0 / 32;
    static inline int32_t code_products(const int8_t* a, const int8_t* b, int64_t n) {
        __m256i sum = _mm256_setzero_si256();
        const __m256i ones = _mm256_set1_epi16(1);
        for (int64_t k = 0; k < n; k += 32) {
            const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(a + k));
            const __m256i y = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(b + k));
            const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(x), _mm256_sign_epi8(y, x));
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, ones));
        }
        __m128i half = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
        half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0x4e));
        return _mm_cvtsi128_si32(_mm_add_epi32(half, _mm_shuffle_epi32(half, 0xb1)));
    }
    // Tiles of 7-bit codes (cpu/kernels/codes-inl.h): 10 x 2 sums and as many other registers as for avx2.
    //
    // vpmaddubsw adds two products to an int16. Two words of a row's codes, up to 127, with a column's, up to 63, are
    // at most 4 x 127 x 63 = 32,004 and need one widening: five instructions for the eight values of a vector, where
    // float32 takes eight multiply-adds and codes of 8 bits would take six.
    using Codes = __m512i;
    static constexpr int kCodeRows = 10, kCodeVectors = 2, kCodeWords = 2, kCodeOffset = 64, kLargestCode = 63;
    static constexpr double kCodeTile = 1.3 / 64;  // ScreenCosts::screen_dim, reckoned from the instructions
    static inline Codes load_codes(const void* p) { return _mm512_load_si512(p); }
    static inline Codes word(const char* p) {
        int32_t codes;
        __builtin_memcpy(&codes, p, 4);
        return _mm512_set1_epi32(codes);
    }
    static inline void add_code_products(Codes sum[2], const char* row, const Codes columns[2][2]) {
        const Codes first = word(row), second = word(row + 4);
#pragma GCC unroll 2
        for (int v = 0; v < 2; ++v) {
            const Codes pairs = _mm512_add_epi16(_mm512_maddubs_epi16(first, columns[0][v]),
                                                 _mm512_maddubs_epi16(second, columns[1][v]));
            sum[v] = _mm512_add_epi32(sum[v], _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
        }
    }
    static inline F32 to_f32(Codes sum) { return _mm512_cvtepi32_ps(sum); }
    static inline uint32_t bits(Mask m) { return m; }
};

}  // namespace hnscore::avx512

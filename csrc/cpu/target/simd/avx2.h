// 256-bit vectors: 6 x 2 accumulators, 2 column vectors and 1 broadcast are 15 of 16 registers.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace hnscore::avx2 {

struct Simd {
    using F32 = __m256;
    using RowValue = F32;  // one value of a row, against a vector of columns
    using Mask = __m256;
    static constexpr const char* kName = "avx2";
    static constexpr int kLanes = 8, kRows = 6, kVectors = 2;
    static constexpr bool kReadsF16 = true;
    static constexpr bool kSumsOnRegisters = false;
    static constexpr int64_t kBlockBytes = 256 * 1024;

    static inline F32 zero() { return _mm256_setzero_ps(); }
    static inline F32 set1(float x) { return _mm256_set1_ps(x); }
    static inline F32 load(const float* p) { return _mm256_load_ps(p); }
    static inline void store(float* p, F32 a) { _mm256_store_ps(p, a); }
    static inline F32 add(F32 a, F32 b) { return _mm256_add_ps(a, b); }
    static inline F32 sub(F32 a, F32 b) { return _mm256_sub_ps(a, b); }
    static inline F32 mul(F32 a, F32 b) { return _mm256_mul_ps(a, b); }
    static inline F32 min(F32 a, F32 b) { return _mm256_min_ps(a, b); }
    static inline F32 max(F32 a, F32 b) { return _mm256_max_ps(a, b); }
    static inline F32 div(F32 a, F32 b) { return _mm256_div_ps(a, b); }
    static inline F32 exponent(F32 a) {  // of positive normal values
        const __m256i biased = _mm256_srli_epi32(_mm256_castps_si256(a), 23);
        return _mm256_cvtepi32_ps(_mm256_sub_epi32(biased, _mm256_set1_epi32(127)));
    }
    static inline F32 fma(F32 a, F32 b, F32 c) { return _mm256_fmadd_ps(a, b, c); }
    static inline float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
    static inline F32 fnma(F32 a, F32 b, F32 c) { return _mm256_fnmadd_ps(a, b, c); }
    static inline RowValue row_value(float x) { return set1(x); }
    static inline F32 add_product(RowValue a, F32 b, F32 c) { return fma(a, b, c); }
    static inline F32 round(F32 a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
    static inline F32 pow2(F32 n) {
        const __m256i e = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
        return _mm256_castsi256_ps(_mm256_slli_epi32(e, 23));
    }
    // Float16 values from anywhere as float32.
    static inline F32 from_f16(const void* p) {
        return _mm256_cvtph_ps(_mm_loadu_si128(static_cast<const __m128i*>(p)));
    }
    static inline __m256d fma(__m256d a, __m256d b, __m256d c) { return _mm256_fmadd_pd(a, b, c); }
    // Products of the low halves of 64-bit lanes.
    typedef uint64_t U64 __attribute__((vector_size(32)));
    static inline U64 low_products(U64 a, U64 b) {
        return reinterpret_cast<U64>(_mm256_mul_epu32(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
    }
    // Float32 values from anywhere as float64.
    static inline __m256d widen(const void* p) { return _mm256_cvtps_pd(_mm_loadu_ps(static_cast<const float*>(p))); }

    static inline F32 abs(F32 a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
    static inline Mask gt(F32 a, F32 b) { return _mm256_cmp_ps(a, b, _CMP_GT_OQ); }
    static inline Mask not_gt(F32 a, F32 b) { return _mm256_cmp_ps(a, b, _CMP_NGT_UQ); }  // true for NaN
    static inline Mask equal(const int32_t* p, int32_t x) {
        const __m256i v = _mm256_load_si256(reinterpret_cast<const __m256i*>(p));
        return _mm256_castsi256_ps(_mm256_cmpeq_epi32(v, _mm256_set1_epi32(x)));
    }
    static inline Mask above(const int32_t* p, int32_t x) {
        const __m256i v = _mm256_load_si256(reinterpret_cast<const __m256i*>(p));
        return _mm256_castsi256_ps(_mm256_cmpgt_epi32(v, _mm256_set1_epi32(x)));
    }
    static inline Mask mask_none() { return _mm256_setzero_ps(); }
    static inline Mask mask_and(Mask a, Mask b) { return _mm256_and_ps(a, b); }
    static inline Mask mask_andnot(Mask a, Mask b) { return _mm256_andnot_ps(b, a); }  // a and not b
    static inline Mask mask_or(Mask a, Mask b) { return _mm256_or_ps(a, b); }
    static inline Mask mask_not(Mask a) { return _mm256_xor_ps(a, _mm256_castsi256_ps(_mm256_set1_epi32(-1))); }
    static inline F32 masked(Mask m, F32 a) { return _mm256_and_ps(m, a); }          // 0 where not m
    static inline void pin(F32& a) { __asm__ volatile("" : "+x"(a) : : "memory"); }  // is on a register here
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
    // Tiles of 7-bit codes (cpu/kernels/codes-inl.h): 4 x 2 sums, 4 vectors of columns, 1 of ones, a word of the row
    // and 2 sums of int16 are 16 registers.
    //
    // vpmaddubsw adds two products to an int16. Two words of a row's codes, up to 127, with a column's, up to 63, are
    // at most 4 x 127 x 63 = 32,004 and need one widening: five instructions for the eight values of a vector, where
    // float32 takes eight multiply-adds and codes of 8 bits would take six.
    using Codes = __m256i;
    static constexpr int kCodeRows = 4, kCodeVectors = 2, kCodeWords = 2, kCodeOffset = 64, kLargestCode = 63;
    static constexpr double kCodeTile = 1.2 / 32;  // ScreenCosts::screen_dim, measured on Zen 3
    static inline Codes load_codes(const void* p) { return _mm256_load_si256(static_cast<const Codes*>(p)); }
    static inline Codes word(const char* p) {
        int32_t codes;
        __builtin_memcpy(&codes, p, 4);
        return _mm256_set1_epi32(codes);
    }
    static inline void add_code_products(Codes sum[2], const char* row, const Codes columns[2][2]) {
        const Codes first = word(row), second = word(row + 4);
#pragma GCC unroll 2
        for (int v = 0; v < 2; ++v) {
            const Codes pairs = _mm256_add_epi16(_mm256_maddubs_epi16(first, columns[0][v]),
                                                 _mm256_maddubs_epi16(second, columns[1][v]));
            sum[v] = _mm256_add_epi32(sum[v], _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
        }
    }
    static inline F32 to_f32(Codes sum) { return _mm256_cvtepi32_ps(sum); }
    static inline uint32_t bits(Mask m) { return static_cast<uint32_t>(_mm256_movemask_ps(m)); }
};

}  // namespace hnscore::avx2

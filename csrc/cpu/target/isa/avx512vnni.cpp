// AVX-512 with vpdpbusd: four products of 8-bit codes added to an int32 lane in one instruction, four times the rate of
// float32. Only the screens of the cascade differ; everything else is avx512's.
#include "cpu/target/simd/avx512.h"
#define HNSCORE_NS avx512vnni
namespace hnscore::avx512vnni {
// 28 accumulators, 2 column vectors, 1 row value.
struct Simd : avx512::Simd {
    static constexpr int kVectors = 2;
};
}  // namespace hnscore::avx512vnni
#include "cpu/kernels/codes-avx512-inl.h"
#include "cpu/kernels/screen-inl.h"

namespace hnscore {
namespace avx512vnni {
namespace {

// The instruction by name: GCC 12 would otherwise copy accumulators between registers.
HNSCORE_INLINE void add_products(__m512i& sum, __m512i unsigned_codes, __m512i codes) {
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(unsigned_codes), "v"(codes));
}

// Per word of the depth: 28 instructions of 64 products each, 14 broadcasts, 2 loads. At a prefix of 96 that is 24
// words, 672 instructions for 448 pairs, and 4 operations for every 16 pairs.
template <bool kTop>
void screen_codes(const ScreenBlock& b) {
    for (int j = 0; j < b.panels; ++j) {
        const __m512i init0 = _mm512_load_si512(b.col_init + j * kCols);
        const __m512i init1 = _mm512_load_si512(b.col_init + j * kCols + kLanes);
        for (int i = 0; i < b.tiles; ++i) {
            __m512i sum[kRows][kVectors];
#pragma GCC unroll 16
            for (int r = 0; r < kRows; ++r) {
                sum[r][0] = init0;
                sum[r][1] = init1;
            }
            const char* rows = b.rows + i * b.tile_bytes;
            const char* cols = b.cols + j * b.panel_bytes;
            for (int64_t k = 0; k < b.depth; ++k) {
                const __m512i c0 = _mm512_load_si512(cols), c1 = _mm512_load_si512(cols + 64);
                cols += kCols * 4;
#pragma GCC unroll 16
                for (int r = 0; r < kRows; ++r) {
                    int32_t word;
                    std::memcpy(&word, rows + r * 4, 4);
                    const __m512i row = _mm512_set1_epi32(word);
                    add_products(sum[r][0], row, c0);
                    add_products(sum[r][1], row, c1);
                }
                rows += kRows * 4;
            }
            Screen<kTop>::apply(b, i, j, [&](int r, int v) { return _mm512_cvtepi32_ps(sum[r][v]); });
        }
    }
}

// A compress to memory would take 70 cycles on Zen 4: compress on a register, store it whole. A store that crosses a
// cache line costs several, so the fewer the better.
int64_t list_codes(const uint32_t* pairs, int64_t panels, uint16_t* out) {
    __m512i columns = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const __m512i step = _mm512_set1_epi32(16);
    uint16_t* at = out;
    for (int64_t p = 0; p < panels; ++p)
        for (uint32_t half = 0; half < 32; half += 16) {
            const auto bits = static_cast<__mmask16>(pairs[p] >> half);
            const __m256i listed = _mm512_cvtepi32_epi16(_mm512_maskz_compress_epi32(bits, columns));
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(at), listed);
            at += __builtin_popcount(bits);
            columns = _mm512_add_epi32(columns, step);
        }
    return at - out;
}

// The same where 16-bit lanes can be compressed.
__attribute__((target("avx512vbmi2"))) int64_t list_codes_vbmi2(const uint32_t* pairs, int64_t panels, uint16_t* out) {
    alignas(64) uint16_t first[32];
    for (int c = 0; c < 32; ++c) first[c] = static_cast<uint16_t>(c);
    __m512i columns = _mm512_load_si512(first);
    const __m512i step = _mm512_set1_epi16(32);
    uint16_t* at = out;
    for (int64_t p = 0; p < panels; ++p) {
        _mm512_storeu_si512(at, _mm512_maskz_compress_epi16(pairs[p], columns));
        at += __builtin_popcount(pairs[p]);
        columns = _mm512_add_epi16(columns, step);
    }
    return at - out;
}

HNSCORE_INLINE __m128i quarter(__m512i a) {
    const __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(a), _mm512_extracti64x4_epi64(a, 1));
    return _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
}

// Four columns at a time: dim / 64 instructions and cache lines a column, then four sums and four gates on one
// register.
int64_t refine_codes(const RefineBlock& b, uint16_t* columns, int64_t count, int64_t dim, uint16_t* out) {
    const __m128 row_unit = _mm_set1_ps(b.row_unit), row_bound = _mm_set1_ps(b.row_bound);
    const __m128 row_least = _mm_set1_ps(b.row_least);
    const bool top = b.top, keys_are_gaps = b.keys_are_gaps;
    const uint8_t* const row = b.row;
    const int8_t* const codes = b.cols;
    const Gate* const gates = b.gates;
    const int64_t pitch = b.pitch;
    for (int64_t n = count; n < count + 8; ++n) columns[n] = columns[0];  // whole groups, and one to prefetch
    uint16_t* end = out;
    for (int64_t n = 0; n < count; n += 4) {
        const __m128i here = _mm_cvtepu16_epi32(_mm_loadu_si64(columns + n));
        const int8_t* from[4];
        __m512i sums[4];
        __m128 gate[4];
#pragma GCC unroll 4
        for (int c = 0; c < 4; ++c) {
            const int64_t column = columns[n + c];
            from[c] = codes + column * pitch;
            gate[c] = _mm_loadu_ps(reinterpret_cast<const float*>(gates + column));
            sums[c] = _mm512_setzero_si512();
        }
        const int8_t* next[4];
#pragma GCC unroll 4
        for (int c = 0; c < 4; ++c) next[c] = codes + columns[n + 4 + c] * pitch;
        for (int64_t k = 0; k < dim; k += 64) {
            const __m512i values = _mm512_loadu_si512(row + k);
#pragma GCC unroll 4
            for (int c = 0; c < 4; ++c) {
                __builtin_prefetch(next[c] + k);
                add_products(sums[c], values, _mm512_load_si512(from[c] + k));
            }
        }
        _MM_TRANSPOSE4_PS(gate[0], gate[1], gate[2], gate[3]);  // init, bound, tau, unit
        __m128i sum = _mm_hadd_epi32(_mm_hadd_epi32(quarter(sums[0]), quarter(sums[1])),
                                     _mm_hadd_epi32(quarter(sums[2]), quarter(sums[3])));
        sum = _mm_add_epi32(sum, _mm_castps_si128(gate[0]));
        const __m128 upper = _mm_fmadd_ps(row_bound, gate[1], _mm_mul_ps(_mm_cvtepi32_ps(sum), row_unit));
        __mmask8 keep = _mm_cmp_ps_mask(upper, gate[2], _CMP_NLT_UQ);
        if (top) {
            const __m128 base = keys_are_gaps ? gate[2] : _mm_setzero_ps();
            keep &= _mm_cmp_ps_mask(upper, _mm_fmadd_ps(row_least, gate[3], base), _CMP_NLT_UQ);
        }
        if (count - n < 4) keep &= static_cast<__mmask8>((1 << (count - n)) - 1);
        _mm_storeu_si64(end, _mm_cvtepi32_epi16(_mm_maskz_compress_epi32(keep, here)));
        end += __builtin_popcount(keep);
    }
    return end - out;
}

double burst(int64_t iterations) {
    __m512i sums[16] = {}, a = _mm512_set1_epi32(0x01010101), b = a;
    __asm__ volatile("" : "+v"(a), "+v"(b));
    for (int64_t i = 0; i < iterations; ++i)
#pragma GCC unroll 16
        for (__m512i& sum : sums) add_products(sum, a, b);
    for (__m512i& sum : sums) __asm__ volatile("" : "+v"(sum));
    return 2.0 * 16 * 64 * static_cast<double>(iterations);
}

}  // namespace

extern const Burst kInt8Burst;
const Burst kInt8Burst = burst;

extern int64_t (*const kListVbmi2)(const uint32_t*, int64_t, uint16_t*);
int64_t (*const kListVbmi2)(const uint32_t*, int64_t, uint16_t*) = list_codes_vbmi2;

extern const ScreenKernels kScreenCodes;
const ScreenKernels kScreenCodes = {
    .rows = kRows,
    .cols = kCols,
    .row_words = 1,
    .code_bytes = 1,
    .depth_step = 16,
    .row_offset = 128,
    .second_offset = 128,
    .has_basis = true,
    .refines = true,
    .by_column = false,
    .typical_error = 0.0062f,
    .second_error = 0.0062f,
    .encode = encode_int8,
    .encode_int8 = encode_int8,
    .sums = screen_codes<false>,
    .top = screen_codes<true>,
    .list = list_codes,
    .refine = refine_codes,
    .costs = {.dense_dim = 1.13 / 16,
              .dense_pair = 3,
              .screen_dim = 1.05 / 64,
              .screen_pair = 0.4,
              .refine_dim = 0.03,
              .refine_pair = 8,
              .exact_dim = 0.45,
              .exact_pair = 60,
              .project_dim = 1.2 / 16,
              .encode_dim = 2},
};

}  // namespace avx512vnni
}  // namespace hnscore

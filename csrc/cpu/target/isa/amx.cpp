// Intel AMX: exact products by 8-bit digits, and bf16 products, on matrix registers. Vectors, rows and everything else
// are avx512's.
#include "cpu/target/simd/avx512.h"
#define HNSCORE_NS amx
namespace hnscore::amx {
struct Simd : avx512::Simd {
    static constexpr int kRows = 32, kVectors = 2;
};
}  // namespace hnscore::amx
#include "cpu/kernels/amx/tables-inl.h"
#include "cpu/kernels/tile-inl.h"

namespace hnscore {
namespace amx {
namespace {

// ---- What becomes of a stored tile ----------------------------------------------------------------------------------

// 16 x 16 pairs as digits: X.T = 2^32 (c0 + 2^-8 c1 + 2^-16 c2), a unit of acc being 2^46. c0 is exact in float32 up to
// 1024 dims; acc is rounded once.
struct DigitTile {
    static constexpr int kRows = 16, kVectors = 1;
    const int32_t* sums;
    HNSCORE_INLINE Simd::F32 acc(int r, int) const {
        const auto load = [&](int l) { return _mm512_cvtepi32_ps(_mm512_load_si512(sums + l * 256 + r * 16)); };
        const Simd::F32 low = Simd::fma(load(1), Simd::set1(0x1p-22f), Simd::mul(load(2), Simd::set1(0x1p-30f)));
        return Simd::fma(load(0), Simd::set1(0x1p-14f), low);
    }
};
struct WholeTile {
    static constexpr int kRows = 32, kVectors = 2;
    const int32_t* sums;
    HNSCORE_INLINE Simd::F32 acc(int r, int v) const {
        return Simd::load(reinterpret_cast<const float*>(sums) + r * 32 + v * 16);
    }
};

template <class Stored, class Epilogue, bool kFiltered>
void stage(const TileBlock& b, const TileArea& area, int i, int j, int from, int to, Carry& carry) {
    using F = Finish<Epilogue, kFiltered, Stored>;
    const Stored stored{area.value};
    const typename F::Panel panel = F::load_panel(b, j);
    typename F::Left left;
    F::start(left);
    if (from > 0) {
        left.any = static_cast<Simd::Mask>(carry.any);
        for (int v = 0; v < F::kVectors; ++v) left.column[v] = Simd::load(carry.column + v * kLanes);
    }
#pragma GCC unroll 1
    for (int r = from; r < to; ++r) F::add_row(b, panel, i, r, [&](int v) { return stored.acc(r, v); }, left);
    if (to < F::kRows) {
        carry.any = left.any;
        for (int v = 0; v < F::kVectors; ++v) Simd::store(carry.column + v * kLanes, left.column[v]);
        return;
    }
    F::add_columns(b, j, left);
    if (__builtin_expect(left.any == 0, 1)) return;
    for (int r = 0; r < F::kRows; ++r)
        for (int v = 0; v < F::kVectors; ++v) Simd::store(b.scratch + r * F::kCols + v * kLanes, stored.acc(r, v));
    F::hand_on(b, i, j, b.scratch);
}

// ---- Packing --------------------------------------------------------------------------------------------------------

constexpr int kTop = 8355711;  // 127 (2^16 + 2^8 + 1): the largest number of three digits in [-128, 127]

HNSCORE_INLINE double sum_of(__m512i a) { return _mm512_reduce_add_epi32(a); }

// 64 values to three times 64 digits, and what they say of the row.
struct DigitSums {
    __m512d rest2 = _mm512_setzero_pd();
    __m512i middle2 = _mm512_setzero_si512(), low2 = middle2, cross = middle2;
};
HNSCORE_INLINE void to_digits(const float* x, __m512d inverse, __m512d unit, __m128i (&q)[3], DigitSums& sums) {
    const __m512 v = _mm512_loadu_ps(x);
    __m256i half[2];
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
        const __m512d d = _mm512_cvtps_pd(h ? _mm512_extractf32x8_ps(v, 1) : _mm512_castps512_ps256(v));
        half[h] = _mm512_cvtpd_epi32(_mm512_mul_pd(d, inverse));
        const __m512d rest = _mm512_fnmadd_pd(_mm512_cvtepi32_pd(half[h]), unit, d);
        sums.rest2 = _mm512_fmadd_pd(rest, rest, sums.rest2);
    }
    const __m512i whole = _mm512_inserti64x4(_mm512_castsi256_si512(half[0]), half[1], 1);
    const auto last = [](__m512i a) { return _mm512_srai_epi32(_mm512_slli_epi32(a, 24), 24); };
    const __m512i low = last(whole), upper = _mm512_srai_epi32(_mm512_sub_epi32(whole, low), 8);
    const __m512i middle = last(upper), high = _mm512_srai_epi32(_mm512_sub_epi32(upper, middle), 8);
    sums.middle2 = _mm512_add_epi32(sums.middle2, _mm512_mullo_epi32(middle, middle));
    sums.low2 = _mm512_add_epi32(sums.low2, _mm512_mullo_epi32(low, low));
    sums.cross = _mm512_add_epi32(sums.cross, _mm512_mullo_epi32(middle, low));
    q[0] = _mm512_cvtepi32_epi8(high);
    q[1] = _mm512_cvtepi32_epi8(middle);
    q[2] = _mm512_cvtepi32_epi8(low);
}

// Whether all values are whole multiples of a power of two.
HNSCORE_INLINE bool has_unit(const float* x, int64_t depth, double unit) {
    const __m512 inverse = _mm512_set1_ps(static_cast<float>(1 / unit));
    for (int64_t k = 0; k < depth; k += 16) {
        const __m512 v = _mm512_mul_ps(_mm512_loadu_ps(x + k), inverse);
        if (_mm512_cmp_ps_mask(v, _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC), _CMP_NEQ_UQ))
            return false;
    }
    return true;
}

// A row as digits: put(k, level, 16 digits) for k = 0, 16, ...
template <class Put>
HNSCORE_INLINE Packed pack_digits(const float* x, int64_t depth, const Put& put) {
    __m512 largest = _mm512_setzero_ps();
    __m512d norm2 = _mm512_setzero_pd();
    for (int64_t k = 0; k < depth; k += 16) {
        const __m512 v = _mm512_loadu_ps(x + k);
        largest = _mm512_max_ps(largest, _mm512_abs_ps(v));
        const __m512d a = _mm512_cvtps_pd(_mm512_castps512_ps256(v)), b = _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1));
        norm2 = _mm512_fmadd_pd(a, a, _mm512_fmadd_pd(b, b, norm2));
    }
    const double most = _mm512_reduce_max_ps(largest);
    // The finest unit; but a power of two where that leaves nothing out, as in rows of small whole numbers.
    double unit = (most > 0 ? most : 1) / kTop;
    const double round = __builtin_scalbn(1, __builtin_ilogb(unit) + 1);
    if (has_unit(x, depth, round)) unit = round;
    DigitSums sums;
    double middle2 = 0, low2 = 0, cross = 0;
    for (int64_t k = 0; k < depth; k += 16) {
        __m128i q[3];
        to_digits(x + k, _mm512_set1_pd(1 / unit), _mm512_set1_pd(unit), q, sums);
#pragma GCC unroll 3
        for (int l = 0; l < 3; ++l) put(k, l, q[l]);
        if (k % 32768 == 32752 || k + 16 >= depth) {  // int32 sums of squares of up to 128
            middle2 += sum_of(sums.middle2);
            low2 += sum_of(sums.low2);
            cross += sum_of(sums.cross);
            sums.middle2 = sums.low2 = sums.cross = _mm512_setzero_si512();
        }
    }
    Packed p;
    p.unit = unit * 0x1p23;
    p.rest = __builtin_sqrt(_mm512_reduce_add_pd(sums.rest2)) * (1 + 1e-9) + 1e-12 * most;
    p.middle = __builtin_sqrt(middle2) * unit;
    p.low = __builtin_sqrt(low2) * unit;
    if (most > 0) {
        const double square = _mm512_reduce_add_pd(norm2);
        p.spread = most / __builtin_sqrt(square);
        p.cross = __builtin_fabs(cross) * unit * unit / square;
    }
    return p;
}

void pack_digit_row(const float* x, int64_t depth, int, int64_t r, char* tile, Packed* packed) {
    *packed = pack_digits(x, depth, [=](int64_t k, int l, __m128i q) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(tile + k / 64 * kDigitStep + l * 1024 + r * 64 + k % 64), q);
    });
}

void pack_digit_panel(const float* x, int64_t pitch, int present, int, int64_t depth, char* panel, Packed* packed) {
    if (present < 16) std::memset(panel, 0, static_cast<size_t>(depth / 64 * kDigitStep));
    for (int c = 0; c < present; ++c)
        packed[c] = pack_digits(x + c * pitch, depth, [=](int64_t k, int l, __m128i q) {
            int32_t words[4];
            std::memcpy(words, &q, 16);
            char* out = panel + k / 64 * kDigitStep + l * 1024 + k % 64 * 16 + c * 4;
            for (int w = 0; w < 4; ++w) std::memcpy(out + w * 64, words + w, 4);
        });
}

// Values that are already rounded to bf16, as pairs.
HNSCORE_INLINE __m256i to_pairs(const float* x) {
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(_mm512_loadu_si512(x), 16));
}
void pack_bf16_row(const float* x, int64_t depth, int, int64_t r, char* tile, Packed*) {
    for (int64_t k = 0; k < depth; k += 16)
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(tile + k / 32 * kWideStep + r * 64 + k % 32 * 2),
                            to_pairs(x + k));
}
void pack_bf16_panel(const float* x, int64_t pitch, int present, int, int64_t depth, char* panel, Packed*) {
    if (present < 32) std::memset(panel, 0, static_cast<size_t>(depth / 32 * kWideStep));
    for (int c = 0; c < present; ++c)
        for (int64_t k = 0; k < depth; k += 16) {
            int32_t words[8];
            const __m256i pairs = to_pairs(x + c * pitch + k);
            std::memcpy(words, &pairs, 32);
            for (int w = 0; w < 8; ++w) std::memcpy(panel + (k / 2 + w) * 128 + c * 4, words + w, 4);
        }
}

// In units of 2^-24 |x||t|: c0 as float32 at most 4, beyond 1024 dims; acc 2; c1 and c2 less than 1; thresholds 4; the
// rounding of float64 rows 2.
double rounding_of_digits(int64_t) { return 14; }

}  // namespace

const Stage kDigitStages[2][kRecipes] = {
    {
#define HNSCORE_RECIPE(name, ...) stage<DigitTile, __VA_ARGS__, false>,
#include "recipes/recipes.def"
    },
    {
#define HNSCORE_RECIPE(name, ...) stage<DigitTile, __VA_ARGS__, true>,
#include "recipes/recipes.def"
    },
};
const Stage kBf16Stages[2][kRecipes] = {
    {
#define HNSCORE_RECIPE(name, ...) stage<WholeTile, __VA_ARGS__, false>,
#include "recipes/recipes.def"
    },
    {
#define HNSCORE_RECIPE(name, ...) stage<WholeTile, __VA_ARGS__, true>,
#include "recipes/recipes.def"
    },
};

// int32 sums of three products of digits: 3 depth 2^14 < 2^31.
const TileFormat kDigits = {3, 64, 64, 43000, rounding_of_digits, pack_digit_row, pack_digit_panel};

const TileFormat kBf16Tiles = {2, 32, 32, INT64_MAX, nullptr, pack_bf16_row, pack_bf16_panel};

extern const Kernels kExact, kRounded;
const Kernels kExact = kDigitKernels, kRounded = kBf16Kernels;
extern const ScreenKernels kScreen;
const ScreenKernels kScreen = kScreenKernels;
extern const Burst kInt8Burst, kBf16Burst;
const Burst kInt8Burst = tile_burst<Int8Products>, kBf16Burst = tile_burst<Bf16Products>;

}  // namespace amx
}  // namespace hnscore

// Passes of the cascade by codes of whole numbers: all of a first pass where the target has tiles of them, and the
// second. What a tile is made of stands in the target's Simd (cpu/target/simd, cpu/target/isa/neondot.cpp): its shape,
// the words of 4 codes of a row that are multiplied at once, the largest code, and what is added to a row's.
#pragma once

#include "cpu/kernels/screen-inl.h"

namespace hnscore {
namespace HNSCORE_NS {

template <bool kTop, class S = Simd>
void screen_codes(const ScreenBlock& b) {
    constexpr int kTileRows = S::kCodeRows, kTileVectors = S::kCodeVectors, kWords = S::kCodeWords;
    constexpr int kWidth = kTileVectors * kLanes;
    using Codes = typename S::Codes;
    for (int j = 0; j < b.panels; ++j) {
        Codes init[kTileVectors];
        for (int v = 0; v < kTileVectors; ++v) init[v] = S::load_codes(b.col_init + j * kWidth + v * kLanes);
        for (int i = 0; i < b.tiles; ++i) {
            Codes sum[kTileRows][kTileVectors];
#pragma GCC unroll 16
            for (int r = 0; r < kTileRows; ++r)
#pragma GCC unroll 4
                for (int v = 0; v < kTileVectors; ++v) sum[r][v] = init[v];
            const char* rows = b.rows + i * b.tile_bytes;
            const char* cols = b.cols + j * b.panel_bytes;
            for (int64_t k = 0; k < b.depth; k += kWords) {
                Codes columns[kWords][kTileVectors];
#pragma GCC unroll 4
                for (int w = 0; w < kWords; ++w)
#pragma GCC unroll 4
                    for (int v = 0; v < kTileVectors; ++v)
                        columns[w][v] = S::load_codes(cols + (w * kWidth + v * kLanes) * 4);
                cols += kWords * kWidth * 4;
#pragma GCC unroll 16
                for (int r = 0; r < kTileRows; ++r) S::add_code_products(sum[r], rows + r * kWords * 4, columns);
                rows += kTileRows * kWords * 4;
            }
            Screen<kTop, kTileRows, kTileVectors>::apply(b, i, j, [&](int r, int v) { return S::to_f32(sum[r][v]); });
        }
    }
}

// q = round(y / unit), unit = max|y| / kLargest. The errors are those of codes-avx512-inl.h: 16 lanes.
template <int kLargest>
Code encode_codes(const float* y, int64_t n, void* codes) {
    constexpr int kSide = 16;
    float largest[kSide] = {};
    for (int64_t k = 0; k < n; k += kSide)
        for (int l = 0; l < kSide; ++l) {
            const float size = __builtin_fabsf(y[k + l]);
            largest[l] = size > largest[l] ? size : largest[l];
        }
    float most = 0x1p-40f;
    for (const float l : largest) most = l > most ? l : most;
    constexpr float kEnd = kLargest;
    const float unit = most / kEnd, inverse = kEnd / most;
    constexpr float kRound = 0x1.8p23f;  // added and taken off: to the nearest whole number
    float error[kSide] = {}, size[kSide] = {}, norm[kSide] = {};
    int32_t sum[kSide] = {};
    auto* out = static_cast<int8_t*>(codes);
    Code c;
    for (int64_t k = 0; k < n; k += kSide)
        for (int l = 0; l < kSide; ++l) {
            const float v = y[k + l];
            float q = (v * inverse + kRound) - kRound;
            q = q > kEnd ? kEnd : q < -kEnd ? -kEnd : q;
            const float read = q * unit, lost = v - read;
            error[l] += lost * lost;
            size[l] += read * read;
            norm[l] += v * v;
            const auto code = static_cast<int32_t>(q);
            sum[l] += code;
            out[k + l] = static_cast<int8_t>(code);
        }
    const auto root = [](const float* lanes) {
        float total = 0;
        for (int l = 0; l < kSide; ++l) total += lanes[l];
        return __builtin_sqrtf(total);
    };
    for (const int32_t s : sum) c.sum += s;
    c.unit = unit;
    c.norm = root(norm);
    c.size = root(size) * 1.0005f;
    c.error = root(error) * 1.0005f + __builtin_sqrtf(static_cast<float>(n)) * 0x1.1p-24f * most;
    return c;
}

// The second pass: all values of a row with those of each listed column, as 8-bit codes.
inline int64_t refine_pairs(const RefineBlock& b, uint16_t* columns, int64_t count, int64_t dim, uint16_t* out) {
    const auto* row = reinterpret_cast<const int8_t*>(b.row);
    uint16_t* end = out;
    columns[count] = columns[0];  // one to fetch
    for (int64_t n = 0; n < count; ++n) {
        const uint16_t column = columns[n];
        const int8_t* next = b.cols + columns[n + 1] * b.pitch;
        for (int64_t k = 0; k < dim; k += 64) __builtin_prefetch(next + k);
        const auto products = static_cast<float>(Simd::code_products(row, b.cols + column * b.pitch, dim));
        const Gate& gate = b.gates[column];
        const float upper = Simd::fma(b.row_bound, gate.bound, products * b.row_unit);
        bool dropped = upper < gate.tau;
        if (b.top) dropped |= upper < Simd::fma(b.row_least, gate.unit, b.keys_are_gaps ? gate.tau : 0.0f);
        *end = column;
        end += !dropped;  // NaN survives
    }
    return end - out;
}

// By codes where the target has tiles of them, else by float32.
template <class S = Simd>
constexpr ScreenKernels make_screen() {
    ScreenKernels screen = {
        .rows = kRows,
        .cols = kCols,
        .row_words = kChunk,
        .code_bytes = 4,
        .depth_step = 16,
        .row_offset = 0,
        .second_offset = 0,
        .has_basis = true,
        .refines = true,
        .by_column = false,
        .typical_error = 1e-5f,
        .second_error = 0.0062f,
        .encode = encode_f32,
        .encode_int8 = encode_codes<127>,
        .sums = screen_block<false>,
        .top = screen_block<true>,
        .list = list_pairs<kCols>,
        .refine = refine_pairs,
        .costs = {.dense_dim = 1.13 / kLanes,
                  .dense_pair = 3,
                  .screen_dim = 1.1 / kLanes,
                  .screen_pair = 10.0 / kLanes,
                  .refine_dim = Simd::kCodeProduct,
                  .refine_pair = 14,
                  .exact_dim = 8.0 / kLanes,
                  .exact_pair = 60,
                  .project_dim = 1.2 / kLanes,
                  .encode_dim = 16.0 / kLanes},
    };
    if constexpr (S::kCodeRows > 0) {
        screen.rows = S::kCodeRows;
        screen.cols = S::kCodeVectors * kLanes;
        screen.row_words = S::kCodeWords;
        screen.code_bytes = 1;
        screen.row_offset = S::kCodeOffset;
        screen.typical_error = 0.0062f * 127 / S::kLargestCode;
        screen.encode = encode_codes<S::kLargestCode>;
        screen.sums = screen_codes<false>;
        screen.top = screen_codes<true>;
        screen.list = list_pairs<S::kCodeVectors * kLanes>;
        screen.costs.screen_dim = S::kCodeTile;
    }
    return screen;
}
constexpr ScreenKernels kScreen = make_screen();

}  // namespace HNSCORE_NS
}  // namespace hnscore

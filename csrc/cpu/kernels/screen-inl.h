// The first pass of the cascade on any instruction set: float32 products on the basis, and what both this and the
// integer version (targets/avx512vnni.cpp) do with a tile of products.
#pragma once

#include <cmath>
#include <cstring>

#include "cpu/kernels/tile-inl.h"

namespace hnscore {
namespace HNSCORE_NS {

// Drops the pairs of a tile that are surely below their threshold; 4 operations a vector, 7 for a top recipe.
template <bool kTop>
struct Screen {
    struct Panel {
        Simd::F32 bound[kVectors], tau[kVectors], unit[kVectors], base[kVectors];
    };
    static HNSCORE_INLINE Panel load_panel(const ScreenBlock& b, int panel) {
        Panel p;
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) {
            const int64_t c = static_cast<int64_t>(panel) * kCols + v * kLanes;
            p.bound[v] = Simd::load(b.col_bound + c);
            p.tau[v] = Simd::load(b.col_tau + c);
            if constexpr (kTop) {
                p.unit[v] = Simd::load(b.col_unit + c);
                p.base[v] = Simd::load(b.col_base + c);
            }
        }
        return p;
    }
    // acc(r, v): the products as float32.
    template <class Products>
    static HNSCORE_INLINE void apply(const ScreenBlock& b, int tile, int panel, const Products& acc) {
        const Panel p = load_panel(b, panel);
#pragma GCC unroll 16
        for (int r = 0; r < kRows; ++r) {
            const int64_t row = static_cast<int64_t>(tile) * kRows + r;
            const Simd::F32 unit = Simd::set1(b.row_unit[row]), bound = Simd::set1(b.row_bound[row]);
            uint32_t bits = 0;
#pragma GCC unroll 4
            for (int v = 0; v < kVectors; ++v) {
                const Simd::F32 upper = Simd::fma(bound, p.bound[v], Simd::mul(acc(r, v), unit));
                Simd::Mask below = Simd::gt(p.tau[v], upper);
                if constexpr (kTop) {
                    const Simd::F32 least = Simd::fma(Simd::set1(b.row_least[row]), p.unit[v], p.base[v]);
                    below = Simd::mask_or(below, Simd::gt(least, upper));
                }
                bits |= Simd::bits(Simd::mask_not(below)) << (v * kLanes);
            }
            b.pairs[row * b.pitch + panel] = bits;
        }
    }
};

struct ScreenProduct : F32Product {
    static constexpr bool kOneChain = true;  // its error is part of the bound
};

template <bool kTop>
void screen_block(const ScreenBlock& b) {
    for (int j = 0; j < b.panels; ++j) {
        const auto* cols = reinterpret_cast<const float*>(b.cols + j * b.panel_bytes);
        for (int i = 0; i < b.tiles; ++i) {
            Tile<ScreenProduct> tile;
            tile.run(reinterpret_cast<const float*>(b.rows + i * b.tile_bytes), cols, b.depth, b.depth, b.scratch);
            tile.each([](int, int, Simd::F32& a) { Simd::pin(a); });
            Screen<kTop>::apply(b, i, j, [&](int r, int v) { return tile.acc[r][v]; });
        }
    }
}

// The code is y itself; the error that of one chain of n products and sums with another such row, half of it here.
inline Code encode_f32(const float* y, int64_t n, void* codes) {
    std::memcpy(codes, y, static_cast<size_t>(n) * sizeof(float));
    float lanes[16] = {};
    for (int64_t k = 0; k < n; k += 16)
        for (int l = 0; l < 16; ++l) lanes[l] += y[k + l] * y[k + l];
    float sum = 0;
    for (const float l : lanes) sum += l;
    Code c;
    c.norm = __builtin_sqrtf(sum);
    c.size = c.norm * 1.0005f;
    c.error = static_cast<float>(n + 8) * 0x1p-24f * c.size;
    return c;
}

// q = round(y / unit), unit = max|y| / 127, for the second pass. The errors are those of codes-avx512-inl.h: 16 lanes.
inline Code encode_codes(const float* y, int64_t n, void* codes) {
    constexpr int kSide = 16;
    float largest[kSide] = {};
    for (int64_t k = 0; k < n; k += kSide)
        for (int l = 0; l < kSide; ++l) {
            const float size = __builtin_fabsf(y[k + l]);
            largest[l] = size > largest[l] ? size : largest[l];
        }
    float most = 0x1p-40f;
    for (const float l : largest) most = l > most ? l : most;
    const float unit = most / 127.0f, inverse = 127.0f / most;
    constexpr float kRound = 0x1.8p23f;  // added and taken off: to the nearest whole number
    float error[kSide] = {}, size[kSide] = {}, norm[kSide] = {};
    auto* out = static_cast<int8_t*>(codes);
    Code c;
    for (int64_t k = 0; k < n; k += kSide)
        for (int l = 0; l < kSide; ++l) {
            const float v = y[k + l];
            float q = (v * inverse + kRound) - kRound;
            q = q > 127 ? 127 : q < -127 ? -127 : q;
            const float read = q * unit, lost = v - read;
            error[l] += lost * lost;
            size[l] += read * read;
            norm[l] += v * v;
            out[k + l] = static_cast<int8_t>(q);
        }
    const auto root = [](const float* lanes) {
        float sum = 0;
        for (int l = 0; l < kSide; ++l) sum += lanes[l];
        return __builtin_sqrtf(sum);
    };
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

inline int64_t list_pairs(const uint32_t* pairs, int64_t panels, uint16_t* out) {
    int64_t n = 0;
    for (int64_t p = 0; p < panels; ++p)
        for (uint32_t bits = pairs[p]; bits != 0; bits &= bits - 1)
            out[n++] = static_cast<uint16_t>(p * kCols + __builtin_ctz(bits));
    return n;
}

constexpr ScreenKernels kScreen = {
    .rows = kRows,
    .cols = kCols,
    .row_words = kChunk,
    .code_bytes = 4,
    .depth_step = 16,
    .row_offset = 0,
    .has_basis = true,
    .refines = true,
    .by_column = false,
    .typical_error = 1e-5f,
    .second_error = 0.0062f,
    .encode = encode_f32,
    .encode_int8 = encode_codes,
    .sums = screen_block<false>,
    .top = screen_block<true>,
    .list = list_pairs,
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

}  // namespace HNSCORE_NS
}  // namespace hnscore

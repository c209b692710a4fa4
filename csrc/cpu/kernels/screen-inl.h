// The first pass of the cascade on any instruction set: float32 products on the basis, and what this and the passes by
// codes (codes-inl.h, cpu/target/isa/avx512vnni.cpp) do with a tile of products.
#pragma once

#include <cmath>
#include <cstring>

#include "cpu/kernels/tile-inl.h"

namespace hnscore {
namespace HNSCORE_NS {

// Drops the pairs of a tile that are surely below their threshold; 4 operations a vector, 7 for a top recipe.
template <bool kTop, int kTileRows = kRows, int kTileVectors = kVectors>
struct Screen {
    static constexpr int kWidth = kTileVectors * kLanes;
    struct Panel {
        Simd::F32 bound[kTileVectors], tau[kTileVectors], unit[kTileVectors], base[kTileVectors];
    };
    static HNSCORE_INLINE Panel load_panel(const ScreenBlock& b, int panel) {
        Panel p;
#pragma GCC unroll 4
        for (int v = 0; v < kTileVectors; ++v) {
            const int64_t c = static_cast<int64_t>(panel) * kWidth + v * kLanes;
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
        for (int r = 0; r < kTileRows; ++r) {
            const int64_t row = static_cast<int64_t>(tile) * kTileRows + r;
            const Simd::F32 unit = Simd::set1(b.row_unit[row]), bound = Simd::set1(b.row_bound[row]);
            uint32_t bits = 0;
#pragma GCC unroll 4
            for (int v = 0; v < kTileVectors; ++v) {
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

template <int kWidth>
int64_t list_pairs(const uint32_t* pairs, int64_t panels, uint16_t* out) {
    int64_t n = 0;
    for (int64_t p = 0; p < panels; ++p)
        for (uint32_t bits = pairs[p]; bits != 0; bits &= bits - 1)
            out[n++] = static_cast<uint16_t>(p * kWidth + __builtin_ctz(bits));
    return n;
}

}  // namespace HNSCORE_NS
}  // namespace hnscore

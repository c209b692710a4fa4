// THE tile loop. For every tile of rows and every panel of columns: products on registers, then the epilogue of the
// recipe on the same registers. The similarities of a tile exist nowhere else unless a pair must be looked at again.
//
// Budget at dim 512, per vector of the tile: 512 multiply-adds; 32 additions for the chunk sums, on ports of their own
// where the machine has them; 8 operations for the epilogue of a hinge sum.
//
// Included by every file in cpu/target/isa, which names the namespace (HNSCORE_NS) that holds its Simd.
#pragma once

#include <cstring>

#include "cpu/kernels/finish-inl.h"

namespace hnscore {
namespace HNSCORE_NS {

template <class Product, class Epilogue, bool kFiltered>
void run_block(const TileBlock& b) {
    using Element = typename Product::Element;
    for (int i = 0; i < b.tiles; ++i) {
        const auto* rows = reinterpret_cast<const Element*>(b.rows + i * b.tile_bytes);
        for (int j = 0; j < b.panels; ++j) {
            const auto* cols = reinterpret_cast<const Element*>(b.cols + j * b.panel_bytes);
            Tile<Product> tile;
            tile.run(rows, cols, b.depth, b.group_depth, b.scratch);
            // The end of the product loop to the compiler too: what the epilogue needs is loaded here, not above, and
            // its wishes for registers do not reach into the loop.
            tile.each([](int, int, Simd::F32& a) { Simd::pin(a); });
            Finish<Epilogue, kFiltered>::apply(tile, b, i, j);
        }
    }
}

template <class Product>
void product(const char* rows, const char* cols, int64_t panel_bytes, int panels, int64_t depth, int64_t group_depth,
             float* scratch, float* out, int64_t pitch) {
    using Element = typename Product::Element;
    for (int j = 0; j < panels; ++j) {
        Tile<Product> tile;
        tile.run(reinterpret_cast<const Element*>(rows), reinterpret_cast<const Element*>(cols + j * panel_bytes),
                 depth, group_depth, scratch);
        tile.each([&](int r, int v, Simd::F32& a) {
            alignas(64) float values[kLanes];
            Simd::store(values, a);
            std::memcpy(out + r * pitch + j * kCols + v * kLanes, values, sizeof values);
        });
    }
}

template <class Product>
constexpr Kernels kernels(const TileFormat& operand) {
    return {
        .operand = &operand,
        .rows = kRows,
        .cols = kCols,
        .lanes = kLanes,
        // Their packed values share the second-level cache with a column block.
        .most_tiles = 16,
        .most_bytes = INT64_MAX,
        .scratch_per_tile = 0,
        .plain =
            {
#define HNSCORE_RECIPE(name, ...) run_block<Product, __VA_ARGS__, false>,
#include "recipes/recipes.def"
            },
        .filtered =
            {
#define HNSCORE_RECIPE(name, ...) run_block<Product, __VA_ARGS__, true>,
#include "recipes/recipes.def"
            },
    };
}

}  // namespace HNSCORE_NS
}  // namespace hnscore

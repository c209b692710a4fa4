// How the values of a row lie in a tile, and what the tile's products read them as. A kernel sees x' = unit * packed,
// off by what packing left out.
#pragma once

#include <cstdint>

namespace hnscore {

// What packing a row found out. Whole values need none of it.
struct Packed {
    double unit = 1;    // the row is unit * (what was packed) + rest
    double rest = 0;    // at least |rest|
    double middle = 0;  // digits: the norms of the second and of the third, in the units of x'
    double low = 0;
    double spread = 0;  // likewise: max|x'| / |x'|
    double cross = 0;   // likewise: |sum of second times third| / |x'|^2, what a row's product with itself leaves out
};

struct TileFormat {
    int element_bytes;       // of one value
    int row_step, col_step;  // depths are padded to whole steps
    int64_t most_dim;
    // Units of 2^-24 |x'| |t'| by which rounding can move a product, or a threshold of at most 2 |x'| |t'|; null of a
    // format that precision "exact" does not use.
    double (*rounding)(int64_t dim);
    // x', zeros up to the padded depth, as row r of a tile of `rows` rows; `present` columns, `pitch` apart, as a panel
    // of `width`, with zeros after them.
    void (*pack_row)(const float* x, int64_t depth, int rows, int64_t r, char* tile, Packed* packed);
    void (*pack_panel)(const float* x, int64_t pitch, int present, int width, int64_t depth, char* panel,
                       Packed* packed);

    int64_t row_depth(int64_t dim) const { return (dim + row_step - 1) / row_step * row_step; }
    int64_t col_depth(int64_t dim) const { return (dim + col_step - 1) / col_step * col_step; }
};

extern const TileFormat kFloat32;  // [chunk][row][kChunk], [depth][column]
extern const TileFormat kBf16;     // [chunk][row][kChunkBf16], [depth / 2][column][2]

}  // namespace hnscore

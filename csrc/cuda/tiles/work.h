// How the tile loops share out a problem: blocks stay, and stride over work items. An item is one block of rows times
// some whole chunks of columns, so that sums of a chunk are the same bits for any grid and any split.
#pragma once

#include "cuda/tiles/problem.h"

namespace hnscore::gpu {

// What a tile loop is launched with.
struct Shape {
    int rows, cols;  // pairs of a tile; `rows` of all blocks of a cluster together
    int threads, cluster;
    int (*shared_bytes)(int64_t depth, int limit, const Tuning& tuning);  // 0: does not fit
};

// Blocks of the float32 loop that a processor holds: 168 registers a thread. More would wait for a place, with their
// share of the items.
constexpr int kSimtBlocks = 3;

// In 32 bits, as the copy engine counts rows: a GPU divides 64 by a function call, and tile loops have no registers for
// it. So rows and columns are at most 2^30.
struct Item {
    int row_block, part;
    int first_col, end_col;
};

HNSCORE_BOTH int parts_of(const Problem& p) {
    const int chunks = static_cast<int>(p.chunks), each = static_cast<int>(p.chunks_per_item);
    return (chunks + each - 1) / each;
}
HNSCORE_BOTH int item_count(const Problem& p) { return static_cast<int>(p.row_blocks) * parts_of(p); }
HNSCORE_BOTH Item item_at(const Problem& p, int index, int chunk_columns) {
    const int parts = parts_of(p), part = index % parts;
    const int columns = static_cast<int>(p.chunks_per_item) * chunk_columns, n = static_cast<int>(p.n_cols);
    const int first = part * columns;
    return {index / parts, part, first, n - first < columns ? n : first + columns};
}

// Whether a tile that ends before column `end` is the last of its chunk or of the item.
HNSCORE_BOTH bool ends_chunk(const Item& item, int end, int chunk_columns) {
    return end >= item.end_col || end % chunk_columns == 0;
}

HNSCORE_DEVICE bool is_chosen(const Problem& p) { return !p.many || (*p.many != 0) == p.if_many; }

}  // namespace hnscore::gpu

// How the tile loops share out a problem: blocks stay, and stride over work items. An item is one block of rows times
// some whole chunks of columns, so that sums of a chunk are the same bits for any grid and any split.
#pragma once

#include "cuda/problem.h"

namespace hnscore::gpu {

// What a tile loop is launched with.
struct Shape {
    int rows, cols;  // pairs of a tile; `rows` of all blocks of a cluster together
    int threads, cluster;
    int (*shared_bytes)(int64_t depth, int limit);  // 0: does not fit
};

struct Item {
    int64_t row_block, part;
    int64_t first_col, end_col;
};

// Items are counted in 32 bits: a GPU divides 64 by a function call, and the wgmma loop has no registers for it.
HNSCORE_BOTH uint32_t parts_of(const Problem& p) {
    const auto chunks = static_cast<uint32_t>(p.chunks), each = static_cast<uint32_t>(p.chunks_per_item);
    return (chunks + each - 1) / each;
}
HNSCORE_BOTH uint32_t item_count(const Problem& p) { return static_cast<uint32_t>(p.row_blocks) * parts_of(p); }
HNSCORE_BOTH Item item_at(const Problem& p, uint32_t index, int64_t chunk_columns) {
    const uint32_t parts = parts_of(p), part = index % parts;
    const int64_t columns = p.chunks_per_item * chunk_columns, first = part * columns, end = first + columns;
    return {index / parts, part, first, end < p.n_cols ? end : p.n_cols};
}

// Whether a tile that ends before column `end` is the last of its chunk or of the item.
HNSCORE_BOTH bool ends_chunk(const Item& item, int64_t end, int64_t chunk_columns) {
    return end >= item.end_col || end % chunk_columns == 0;
}

HNSCORE_DEVICE bool is_chosen(const Problem& p) { return !p.hits || (*p.hits > p.hits_limit) == p.if_many; }

}  // namespace hnscore::gpu

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
    uint32_t row_block, part;
    int64_t first_col, end_col;
};

// The items of a problem, counted in 32 bits, in which a GPU divides by itself.
struct Work {
    uint32_t parts, items;

    HNSCORE_BOTH explicit Work(const Problem& p) {
        const auto chunks = static_cast<uint32_t>(p.chunks), each = static_cast<uint32_t>(p.chunks_per_item);
        parts = (chunks + each - 1) / each;
        items = static_cast<uint32_t>(p.row_blocks) * parts;
    }
    HNSCORE_BOTH Item item(const Problem& p, uint32_t index, int64_t chunk_columns) const {
        const uint32_t part = index % parts;
        const int64_t columns = p.chunks_per_item * chunk_columns, first = part * columns, end = first + columns;
        return {index / parts, part, first, end < p.n_cols ? end : p.n_cols};
    }
};

// Whether a tile that ends before column `end` is the last of its chunk or of the item.
HNSCORE_BOTH bool ends_chunk(const Item& item, int64_t end, int64_t chunk_columns) {
    return end >= item.end_col || end % chunk_columns == 0;
}

HNSCORE_DEVICE bool is_chosen(const Problem& p) { return !p.hits || (*p.hits > p.hits_limit) == p.if_many; }

}  // namespace hnscore::gpu

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

HNSCORE_BOTH Item item_at(const Problem& p, int64_t index, int64_t chunk_columns) {
    const int64_t part = index % p.items_per_block(), columns = p.chunks_per_item * chunk_columns;
    const int64_t first = part * columns, end = first + columns < p.n_cols ? first + columns : p.n_cols;
    return {index / p.items_per_block(), part, first, end};
}

// Whether a tile that ends before column `end` is the last of its chunk or of the item.
HNSCORE_BOTH bool ends_chunk(const Item& item, int64_t end, int64_t chunk_columns) {
    return end >= item.end_col || end % chunk_columns == 0;
}

HNSCORE_DEVICE bool is_chosen(const Problem& p) { return !p.hits || (*p.hits > p.hits_limit) == p.if_many; }

}  // namespace hnscore::gpu

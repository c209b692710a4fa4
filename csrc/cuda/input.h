// Embeddings in device memory, as host and device see them.
#pragma once

#include "core/view.h"

namespace hnscore::gpu {

// Row i of the call is row pick[i] of the view, or row i.
struct Rows {
    View view;
    const int64_t* pick;
    int64_t count;
};

// Which pairs count beside the threshold, as cpu/engine.h has it in Rules; null: no such rule. By row and column of the
// call.
struct Filters {
    const double* max_similarity;
    bool max_similarity_of_rows;
    const int64_t *row_group, *col_group;
    bool negative_groups_differ;           // one side is signed, the other is not: equal bits are then no equal labels
    const int64_t *row_owner, *col_owner;  // columns without are their own
    const double* kth_value;
    const int64_t* kth_row;
    const double* skip_value;
    const int64_t* skip_row;
};

// What rows are packed as.
enum class Operand : int { half, bf16, single };

constexpr int64_t operand_bytes(Operand o) { return o == Operand::single ? 4 : 2; }

}  // namespace hnscore::gpu

// The two sides of a launch: rows and columns, packed for its tiles.
#pragma once

#include <algorithm>

#include "cuda/backend.h"
#include "cuda/plan.h"

namespace hnscore::gpu {

constexpr int64_t kPaddedColumns = 256;

inline View packed_view(const PackedRows& rows, int64_t count, int64_t dim) {
    return {static_cast<const char*>(rows.values),
            count,
            dim,
            rows.pitch,
            operand_bytes(rows.operand),
            dtype_of(rows.operand),
            false};
}

// The rows of a launch: packed rows [first, first + count) of the input.
inline void set_rows(Problem& p, const Input& input, const PackedRows& packed, int64_t first, int64_t count,
                     bool by_values) {
    p.row_values = packed.values;
    p.row_pitch = packed.pitch;
    p.row_facts = packed.facts;
    p.n_rows = count;
    p.first_row = first;
    p.rows = by_values ? input.rows : Rows{packed_view(packed, count, input.rows.view.dim), nullptr, count};
    p.first_value_row = by_values ? first : 0;
    p.exact = by_values;
}

inline void set_columns(Problem& p, const Input& input, const PackedRows& packed, int64_t first, int64_t count,
                        const ColumnFacts* facts, const float* largest_error, bool by_values) {
    p.col_values = packed.values;
    p.col_pitch = packed.pitch;
    p.col_rows = packed.facts;
    p.col_facts = facts;
    p.col_error = largest_error;
    p.n_cols = count;
    p.first_col = first;
    p.cols = by_values ? input.rows : Rows{packed_view(packed, count, input.rows.view.dim), nullptr, count};
    p.first_value_col = by_values ? first : 0;
    p.depth = input.rows.view.dim;
    p.rounding = rounding_of_sums(packed.operand, p.depth);
    p.chunks = divide_up(count, kChunkColumns);
}

// Columns of so many bytes that are packed at a time: whole chunks, so that items are as in one launch.
inline int64_t column_slab(const Context& context, int64_t columns, int64_t bytes_a_column) {
    const int64_t fit = context.slab_bytes / 2 / std::max<int64_t>(bytes_a_column, 1);
    return fit >= columns ? columns : std::min(columns, std::max<int64_t>(fit / kChunkColumns, 1) * kChunkColumns);
}

// Of either side: rows are packed as the columns are that they meet.
inline Packer packer_of(const Device& d, const Rows& side, const PackedColumns& columns, size_t operand) {
    return {d, side, columns.rounded[operand], columns.cosine, !is_rounded(columns.precision)};
}

// Columns [first, first + count) of an operand. Where all of them are not kept, they are packed anew.
inline PackedRows columns_at(Call& call, const PackedColumns& columns, size_t operand, int64_t first, int64_t count) {
    PackedRows packed = columns.operands[operand];
    packed.facts += first;
    const Packer packer = packer_of(call.device(), columns.input.rows, columns, operand);
    if (packer.direct)
        packed.values = static_cast<const char*>(packed.values) + first * packed.pitch;
    else if (columns.slab < columns.input.rows.count)
        packed = packer.pack(call, columns.input, first, count, packed, nullptr);
    return packed;
}

}  // namespace hnscore::gpu

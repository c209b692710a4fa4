// What a kernel receives: plain data in device memory, no owner, no container. One struct for every recipe.
//
// Units are those of cpu/target/target.h, but for the scale of packed rows: x'_i = x_i 2^-e_i has a norm in [1, 2) as
// float, in [2^10, 2^11) as half (so that no value that matters is subnormal there), and is x_i itself where the
// caller's memory is read. Whatever the scale,
//     acc = x'_i . t'_j,   s_ij = acc / (m_i m_j),   gap' = acc - m_i tau'_j = m_i m_j (s_ij - tau_j),   tau'_j = tau_j
//     m_j
// and acc is off by at most  norm_i norm_j (error_i + error_j + error_i error_j + p.rounding):  what packing lost of
// the two rows, relative to their norms, and what the sum of products lost.
#pragma once

#include <cstdint>

#include "cpu/target/target.h"
#include "cuda/device/gpu.h"
#include "cuda/device/wait.h"
#include "cuda/rows/input.h"
#include "cuda/tiles/tuning.h"

namespace hnscore::gpu {

// Columns are added up in chunks of this many, whatever the grid: the same bits for any split of the work.
constexpr int64_t kChunkColumns = 8192;

// Stands for the threshold of a column that never counts: times any m it is beyond every acc.
constexpr float kNever = 0x1p100f;

// What is known of a row besides its packed values.
struct RowFacts {
    // dot of the values that decide: the caller's, or the packed ones.
    double root;   // s = dot / (root_i root_j), but for rounding; under dot 1
    double norm2;  // the squared norm, an exact sum, where the caller's values decide a cosine
    float m, m_low;
    float norm;   // |x'|, not below it; NaN: a bad row, which never counts; inf: pairs are decided one by one
    float error;  // |x' - packed| / |x'|, not below it
};

struct ColumnFacts {
    float tau;     // tau'_j; kNever for the padding
    float second;  // what float32 leaves of tau'_j; for a top recipe m_j
    float scale;   // 1 / m_j
    float norm;    // 0 for the padding
};

struct TopEntry {
    double key;
    int64_t column;
};

struct Problem : Rules {
    // Rows of this launch and all columns, packed: [row][pitch bytes], `depth` elements of which are in use, 16-byte
    // aligned. Rows and columns beyond n_rows and n_cols need not exist.
    const void *row_values, *col_values;
    int64_t row_pitch, col_pitch;
    int64_t n_rows, n_cols;
    int64_t depth;
    const RowFacts *row_facts, *col_rows;  // [n_rows], [n_cols]
    const ColumnFacts* col_facts;          // [n_cols rounded up to whole tiles of 256]
    const float* col_limit;                // max_similarity_j m_j, as many; null without
    const float* col_error;                // the largest error_j
    float rounding;                        // see above

    // The values that decide pairs which acc cannot: row i of this launch is row first_value_row + i there, and row
    // first_row + i in the arrays of the rules; likewise columns.
    Rows rows, cols;
    int64_t first_value_row, first_value_col;
    int64_t first_row, first_col;
    bool cosine;
    bool exact;  // those values are the caller's, and decide exactly; else they are the packed ones, in float64

    // Work items: row block b, columns of chunks [i * chunks_per_item, (i + 1) * chunks_per_item).
    int64_t row_blocks, chunks, chunks_per_item;

    const double* tau;  // by column of this launch
    Recipe weight;
    double temperature;

    // Sums: [chunk][row of this launch]. Top recipes: [item of the row][row of this launch][k], kept from launch to
    // launch.
    double* partial;
    TopEntry* top;
    int64_t k;
    bool keys_are_gaps;

    // Lists: where in `top` the pairs of a row with a chunk of columns begin, [chunk][begins_pitch].
    const int64_t* begins;
    int64_t begins_pitch;

    // Two kernels are launched where the device is to choose one: this one runs if (*many != 0) == if_many.
    const int* many;
    bool if_many;

    int64_t* wide;  // [block of the grid][kMostWarps][WideSum::kLimbs]: room for sums that float64 cannot round

    Tuning tuning;
    uint64_t* hangs;  // where warps note what they wait for in vain; null: nowhere
};

}  // namespace hnscore::gpu

// What the cascade's kernels receive: codes of rows, and numbers that make their products upper bounds.
//
// A row y (values on the basis, or all values) is read as unit * q with codes q of low precision. With x' and t' as in
// cpu/target/target.h, a_i, b_j their units,
//
//     x'_i . t'_j  <=  a_i b_j (q_i . p_j) + u_i w_j              (cpu/screen.h derives u and w)
//
// and a pair survives unless that is surely below its threshold m_i tau'_j. Divided by m_i b_j:
//
//     (q_i . p_j) row_unit_i + row_bound_i col_bound_j  <  col_tau_j        the pair is dropped
//
// with row_unit = a / m, row_bound = u / m, col_bound = w / b, col_tau = tau' / b. A top recipe also drops what is
// below
//     row_least_i col_unit_j + col_base_j,     row_least = k-th best key so far, col_unit = m_j / b,
//                                              col_base = col_tau where keys are gaps, 0 where they are similarities.
// Every comparison is "not below", so that NaN survives: rows that float32 cannot serve have row_unit = NaN.
#pragma once

#include <cstdint>

namespace hnscore {

struct Code {
    float unit = 1;
    float error = 0;  // at least |y - unit q|
    float size = 0;   // at least |unit q|
    float norm = 0;   // |y| within 2^-18 of itself
    int32_t sum = 0;  // of q
};

struct ScreenBlock {
    const char* rows;  // `tiles` tiles of ScreenKernels::rows rows
    int64_t tile_bytes;
    int tiles;
    const float *row_unit, *row_bound, *row_least;
    const char* cols;  // `panels` panels of ScreenKernels::cols columns
    int64_t panel_bytes;
    int panels;
    const int32_t* col_init;  // of integer products: what makes up for the offset of the rows' codes
    const float *col_bound, *col_tau, *col_unit, *col_base;
    int64_t depth;    // in words
    float* scratch;   // as TileBlock::scratch
    uint32_t* pairs;  // out: one word a row and panel, bit c for column c of the panel
    int64_t pitch;    // [row][pitch]; by column [panel][pitch], the rows of all tiles
    // By column. Counts: pairs that are surely above col_above are no survivors but added up, one number a row; null:
    // not looked for. And what will be needed after this call, to be fetched meanwhile beside the panel that follows.
    const float* col_above;
    int32_t* sure;
    const char* const* ahead;
    int64_t n_ahead, ahead_bytes;
};

// The second pass: one row against listed columns, all values of both.
struct Gate {
    int32_t init;
    float bound, tau, unit;
};
struct RefineBlock {
    const uint8_t* row;
    float row_unit, row_bound, row_least;
    bool top, keys_are_gaps;
    const int8_t* cols;
    int64_t pitch;  // bytes of a column, a multiple of 64
    const Gate* gates;
};

// What things cost, in cycles of one thread. Only ratios matter; measured on Zen 4, those of matrix registers on a
// Granite Rapids.
struct ScreenCosts {
    double dense_dim, dense_pair;    // a pair in the dense path, per dimension and at all
    double screen_dim, screen_pair;  // a pair in the first pass
    double refine_dim, refine_pair;  // a survivor of the first pass
    double exact_dim, exact_pair;    // a survivor of all
    double project_dim;              // a row on one basis vector, per dimension
    double encode_dim;               // a row read and coded, per dimension
};

struct ScreenKernels {
    int rows, cols;  // the tile
    int row_words;   // rows are packed [depth / row_words][row][row_words], columns [depth][column], in words
    int code_bytes;  // of one code in the first pass; a word is 4 bytes
    int depth_step;  // codes of all values are padded to whole steps
    // Added to every byte of the rows' codes, of each pass: products of bytes may want them unsigned.
    uint8_t row_offset, second_offset;
    bool has_basis;  // the first pass may look at fewer values than all; else that is never cheaper
    bool refines;    // there is a second pass
    bool by_column;  // what survives is decided by column: cpu/cascade/screened_panels.h; else by row:
                     // cpu/cascade/screened_rows.h
    float typical_error, second_error;                       // |y - unit q| / |y| as the plan expects it, of each pass
    Code (*encode)(const float* y, int64_t n, void* codes);  // n: a multiple of 16
    Code (*encode_int8)(const float* y, int64_t n, void* codes);  // of the second pass
    void (*sums)(const ScreenBlock&);
    void (*top)(const ScreenBlock&);
    // Columns of the set bits, ascending; returns how many. Lists have room for 32 more.
    int64_t (*list)(const uint32_t* pairs, int64_t panels, uint16_t* out);  // by row
    // Those of `columns` that survive; `out` may be `columns`.
    int64_t (*refine)(const RefineBlock&, uint16_t* columns, int64_t count, int64_t dim, uint16_t* out);
    ScreenCosts costs;
};

}  // namespace hnscore

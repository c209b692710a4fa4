// What a CPU target receives: plain data, no owner, no container. One struct for every recipe.
//
// Units. Row i and column j are packed as x'_i = x_i 2^-e_i and t'_j = t_j 2^-f_j with norms in [1, 2), an exact
// scaling for float32 values. A kernel sees acc = x'_i . t'_j and never divides by a norm: the threshold is
// multiplied instead,
//     gap' = acc - row_scale_i * tau'_j,    tau'_j = tau_j * m_j,    row_scale_i = m_i,
// with m = |x'| under cosine and 2^-e under dot, so that s_ij = acc / (m_i m_j) and
//     gap_ij = s_ij - tau_j = gap' * col_scale_j / m_i,               col_scale_j = 1 / m_j.
// An operand may read rows in units of its own (cpu/target/tile_format.h): then x' / unit stands for x', and m / unit
// for m.
#pragma once

#include <cstdint>

#include "core/exact.h"
#include "core/view.h"
#include "cpu/target/gaussian.h"
#include "cpu/target/screen.h"
#include "cpu/target/tile_format.h"

namespace hnscore {

enum class Precision : int { exact, fp32, bf16 };

enum BadRow : int { kGood = 0, kNonFinite = 1, kZero = 2, kOutOfRange = 3, kNegative = 4 };

// Norms within 2^30 of 1, and thresholds as far, keep every weight of the epilogue within float32, gap^2 included.
// Beyond, under dot, pairs are decided one by one in float64.
constexpr int kPlainExponent = 30;

// The depth is summed in chunks, chunks in groups, and groups: three short chains of float32 additions instead of one
// long one, since a chain's error grows with its length. Emulated, worst of 20,000 pairs with similarity 0.96 at dim
// 512, in units of 2^-24: one chain 19.7; chunks of 64 in one group 3.9; chunks of 16 in groups of 8 2.8.
constexpr int kChunk = 16;
constexpr int kChunkBf16 = 64;  // of the layout; bf16 products are added in one chain

// Chunks in a group. With n chunks in g groups the variance of a growing sum is about (n / g^2 + g) / 3 units^2 (the
// chunks' own share is small), least at g = cbrt(2 n).
constexpr int64_t chunks_per_group(int64_t depth) {
    const int64_t n = (depth + kChunk - 1) / kChunk;
    int64_t groups = 1;
    while (groups * groups * groups < 2 * n) ++groups;
    return (n + groups - 1) / groups;
}

constexpr double kUnit = 0x1p-24;  // relative rounding error of float32

// Units by which rounding can move a tile's product of two rows, relative to the product of their norms: products and
// their sums in three short chains, one more each for the rounding of x' and t' of float64 rows, for a target without
// fused multiply-adds, and for good measure.
constexpr double chain_units(int64_t dim) {
    const int64_t n = (dim + kChunk - 1) / kChunk, group = chunks_per_group(dim);
    return static_cast<double>((dim < kChunk ? dim : kChunk) + group + (n + group - 1) / group + 4);
}

// The same for Target::dots_f32: chains of products on 32 lanes, those of kSegment values added up; their sum; the
// rounding of float64 rows; one for good measure.
constexpr int64_t kSegment = 1024;
constexpr double float_units(int64_t n) {
    return static_cast<double>((n < kSegment ? n : kSegment) / 32 + 6 + n / kSegment + 3);
}

// Packed depth: a multiple of 8, so that the unrolled product loop leaves no remainder.
constexpr int64_t padded_depth(int64_t dim) { return (dim + 7) / 8 * 8; }

// Sum lanes are added to float64 after this many panels: 16 additions cost at most 8 units in the last place.
constexpr int kPanelsPerBlock = 16;

struct TileBlock {
    // Rows: `tiles` tiles of Kernels::rows rows each.
    const char* rows;
    int64_t tile_bytes;
    int tiles;
    const float* row_scale;      // m_i; NaN sends every pair of the row to `resolve`
    const float* row_scale_low;  // what float32 leaves of m_i
    const float* row_band;       // see col_band
    const float* row_limit;      // see col_limit
    const float* row_factor;     // 1 / m_i, of exp and kernel over the temperature
    const float* row_spread;   // digits: a row and a column whose product exceeds 1 need the lower digits' products too
    const uint32_t* row_mask;  // ~0 for a row, 0 for the padding of the last tile
    const int32_t* row_group;
    const int32_t* row_owner;
    const int32_t* row_order;
    const float* row_weight;    // of the terms in col_sums
    const float* row_variance;  // overlap
    const float* row_square;    // likewise: |x_i|^2 of the values in use
    float* row_state;           // sums: [row][vector of Finish][lane]; top, list: [row] the key that a pair must exceed
    // Columns: `panels` panels of Kernels::cols columns each.
    const char* cols;
    int64_t panel_bytes;
    int panels;
    const float* tau;       // tau'_j; very large for the padding of the last panel
    const float* tau_low;   // what float32 leaves of tau'_j
    const float* col_band;  // |gap'| <= row_band * col_band goes to `resolve`; infinite where float32 cannot serve
    const float* col_spread;
    const float* col_scale;  // 1 / m_j
    const float* col_limit;  // acc > row_limit * col_limit is above max_similarity
    const float* col_least;  // acc < row_scale * col_least is not among the most similar of the column
    const int32_t* col_group;
    const int32_t* col_owner;
    const int32_t* col_order;
    const float* col_weight;    // of the terms in row_state
    const float* col_shift;     // kernel, overlap: added to a term
    const float* col_variance;  // overlap
    const float* col_square;    // likewise: |t_j|^2
    float* col_sums;            // filtered sums: [column] the terms of all rows, weighted by them
    float rate, half_dim;       // kernel: 1 / temperature; overlap: recipes/weight.h
    float square_error;         // overlap: of |x_i - t_j|^2, relative to |x_i|^2 + |t_j|^2; 0: nothing is refined
    int64_t depth;              // of a column, padded as the operand says
    int64_t group_depth;        // of it, a group of chunks
    float* scratch;             // 3 tiles of floats, and Kernels::scratch_per_tile for each of `tiles`
    // Pairs that the kernel does not decide. Sums: those within the band. Top: all candidates; `sure` marks those
    // that need no decision. One word per row of the tile, bit c for column c of the panel; acc is [row][cols].
    void (*resolve)(void* context, int tile, int panel, const uint32_t* pairs, const uint32_t* sure, const float* acc);
    void* context;
};

using BlockKernel = void (*)(const TileBlock&);

enum Recipe : int {
#define HNSCORE_RECIPE(name, ...) name,
#include "recipes/recipes.def"
    kRecipes
};

struct Kernels {
    const TileFormat* operand;
    int rows, cols, lanes;  // the tile: rows x cols pairs
    // Tiles of rows that pass by a block of columns: at most so many, of at most so many bytes; and how many tiles of
    // floats each needs in TileBlock::scratch.
    int most_tiles;
    int64_t most_bytes;
    int scratch_per_tile;
    BlockKernel plain[kRecipes];
    BlockKernel filtered[kRecipes];  // with max_similarity, groups, owners, order, ranks or weights
};

// So many products of a unit's kind, as fast as it goes; returns the operations done.
using Burst = double (*)(int64_t iterations);

// One instruction set. `cpu/target/isa/*.cpp` define them, `cpu/target/dispatch.cpp` chooses one.
struct Target {
    const char* name;
    int64_t block_bytes;  // columns per block: what half of a usual second-level cache holds
    // Reads row `row` as float64; false where a value is not finite.
    bool (*load_row)(const View& view, int64_t row, double* out);
    // The row as float32, for types that fit_float32 and lie without gaps in this machine's byte order.
    void (*decode_row)(const void* row, int64_t n, DType dtype, float* out);
    // Plain dot products, in one order: off by at most (n + 8) * 2^-53 * |a| |b|.
    double (*dot)(const double* a, const double* b, int64_t n);
    double (*dot_f32)(const double* a, const void* b, int64_t n);  // of float32 values anywhere
    // Of four rows with a column in float32, n a multiple of 32, the column aligned: off by at most float_units(n)
    // 2^-24 |a||b|. Meanwhile four more rows are fetched.
    void (*dots_f32)(const float* column, const float* const rows[4], const float* const next[4], int64_t n,
                     float out[4]);
    // |a factor_a - b factor_b|^2, every difference formed before it is squared.
    double (*distance2)(const double* a, double factor_a, const double* b, double factor_b, int64_t n);
    // Of float32 values anywhere: dot(x, x), the same bits; and x * factor, rounded to bf16 or not.
    double (*norm2_f32)(const void* x, int64_t n);
    void (*scale_f32)(const void* x, int64_t n, float factor, bool round_bf16, float* out);
    // The dot product as an unevaluated pair; wide: products need not fit in float64.
    PairSum (*dot_pair)(const double* a, const double* b, int64_t n, bool wide);
    // float32 (or bf16-rounded float32) values of x * 2^-exponent.
    void (*scale_row)(const double* x, int64_t n, int exponent, bool round_bf16, float* out);
    // Rows as float64, zeros from the end of each to `pitch`, a multiple of 8; their dot products with others in the
    // same form, n_rows a multiple of 4; those of one row as cosines; cosines as kernels, in whole vectors.
    void (*load_rows)(const View& view, const int64_t* rows, int64_t count, int64_t pitch, double* out);
    void (*dots)(const double* rows, int64_t n_rows, const double* columns, int64_t n_columns, int64_t pitch,
                 double* out, int64_t out_pitch);
    void (*cosines)(double* dots_of_row, int64_t n, double norm, const double* norms);
    void (*kernels_of_cosines)(double* s, int64_t n, double temperature);
    // Bounds for selections, aligned, n a multiple of Kernels::lanes (cpu/kernels/cover-inl.h).
    void (*upper_kernels)(const float* acc, int64_t n, const float* scales, float row_scale, float slack, float rate,
                          uint16_t* out);
    float (*gain)(const uint16_t* kernels, const float* floor, const float* weights, int64_t n, float* above);
    float (*fall)(const uint16_t* kernels, float factor, float less, const float* from, const float* to,
                  const float* weights, int64_t n);
    // Tiles of float32 values; the products of one tile of rows with `panels` panels, stored: out[row * pitch +
    // column].
    Kernels fp32;
    void (*product)(const char* rows, const char* cols, int64_t panel_bytes, int panels, int64_t depth,
                    int64_t group_depth, float* scratch, float* out, int64_t pitch);
    // Tiles for precision="exact" and "fp32", and for "bf16"; the fp32 ones where a target has nothing faster.
    Kernels exact, bf16;
    ScreenKernels screen;
    GaussianKernels gaussians;
    // Independent multiply-adds on all accumulators of the tile.
    Burst fma_burst;
    // The same of the units for 8-bit and bf16 products, where a target uses such; else null.
    Burst int8_burst, bf16_burst;
};

}  // namespace hnscore

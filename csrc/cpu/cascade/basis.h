// A few directions that hold most of what rows are made of: the first pass of the cascade looks at those alone.
#pragma once

#include <memory>
#include <vector>

#include "cpu/rows/rows.h"

namespace hnscore {

// Directions as rows, orthonormal to rounding; zeros where a sample has fewer.
struct Directions {
    int64_t count, dim;
    std::vector<float> vectors;  // [count][dim]
};

// The directions for which the product of what two samples of unit rows, a [m][dim] and b [n][dim], leave outside is
// about the least: leading eigenvectors of A / left_a + B / left_b, with their second moments A and B and what is left
// of them, the stationary point of log left_a + log left_b.
Directions learn_directions(const Target& target, const float* a, int64_t m, const float* b, int64_t n, int64_t dim,
                            int64_t count, int steps, int n_threads);

struct Basis {
    int64_t dim = 0, count = 0;  // V is dim x count, its spectral norm is at most 1
    Buffer<float> packed;        // V in panels of the target's float32 tile
    int64_t panels = 0, panel_bytes = 0;
};

// V: the first `count` (a multiple of 32) of the directions, mixed among each other so that a row's values on them are
// alike in size, and scaled so that the spectral norm is surely at most 1. Null where they are unusable.
std::shared_ptr<const Basis> make_basis(const Target& target, const Directions& directions, int64_t count,
                                        int n_threads);

// A matrix in memory: element (i, j) at data[i * row + j * column].
struct Matrix {
    const float* data;
    int64_t rows, columns, row, column;
};
inline Matrix row_major(const std::vector<float>& x, int64_t rows, int64_t columns) {
    return {x.data(), rows, columns, columns, 1};
}
inline Matrix transposed(const Matrix& m) { return {m.data, m.columns, m.rows, m.column, m.row}; }

// a b, float32, on the target's tile; row-major.
std::vector<float> multiply(const Target& target, const Matrix& a, const Matrix& b, int n_threads);

}  // namespace hnscore

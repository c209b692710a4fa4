// The tile loop with float32 multiply-adds, for every GPU: what is left to a float32 product where many pairs count,
// and all there is before sm_80.
//
// A block of 4 warps has 64 x 64 pairs, a warp 16 x 64. For 4 values of depth a lane loads 2 rows and 16 columns, 16
// bytes each, for 128 multiply-adds: 18 loads of 64 or 128 distinct bytes a warp against 128 cycles of its scheduler.
// The depth is summed in chunks of 32, whose sums are added with their rounding errors kept (Kahan): what is left is the
// error of a chunk, a few units of 2^-24 of a 32nd part of the depth each.
#pragma once

#include "cuda/epilogue.h"

namespace hnscore::gpu {

struct SimtShape {
    static constexpr int kWarps = 4, kThreads = 32 * kWarps, kRows = 64, kColumns = 64, kSlices = 8;
    static constexpr int kDepth = 32, kPitch = kDepth + 4;  // floats; lanes of a quad then fall into different banks
    static constexpr int kTileBytes = (kRows + kColumns) * kPitch * 4;
    template <class Scratch>
    static constexpr int shared_bytes() {
        return kTileBytes + kWarps * static_cast<int>(sizeof(Scratch));
    }
};

// 64 rows of 32 values into shared memory; zeros beyond the last row and the depth.
HNSCORE_DEVICE void load_simt_tile(const void* values, int64_t pitch, int64_t first, int64_t count, int64_t depth,
                                   int64_t k, float* tile) {
    for (int at = thread(); at < SimtShape::kRows * SimtShape::kDepth; at += SimtShape::kThreads) {
        const int r = at / SimtShape::kDepth, d = at % SimtShape::kDepth;
        float value = 0;
        if (first + r < count && k + d < depth)
            value = reinterpret_cast<const float*>(static_cast<const char*>(values) + (first + r) * pitch)[k + d];
        tile[r * SimtShape::kPitch + d] = value;
    }
}

template <template <int, int> class Epilogue>
HNSCORE_KERNEL(SimtShape::kThreads) simt_kernel(const HNSCORE_GRID_CONSTANT Problem p) {
    using Shape = SimtShape;
    using E = Epilogue<1, Shape::kSlices>;
    using Scratch = typename E::Scratch;
    if (p.hits && (*p.hits > p.hits_limit) != p.if_many) return;
    float* rows = reinterpret_cast<float*>(shared());
    float* columns = rows + Shape::kRows * Shape::kPitch;
    const int warp = thread() / 32;
    Scratch& scratch = reinterpret_cast<Scratch*>(shared() + Shape::kTileBytes)[warp];
    for (int64_t item = block(); item < p.items(); item += blocks()) {
        const int64_t part = item % p.items_per_block(), first_row = item / p.items_per_block() * Shape::kRows;
        const int64_t first = part * p.chunks_per_item * kChunkColumns;
        const int64_t end = min_of(p.n_cols, first + p.chunks_per_item * kChunkColumns);
        E epilogue(p, part, first_row + 16 * warp, scratch);
        for (int64_t column = first; column < end; column += Shape::kColumns) {
            float acc[1][Shape::kSlices][4] = {}, lost[Shape::kSlices][4] = {};
            for (int64_t k = 0; k < p.depth; k += Shape::kDepth) {
                sync();
                load_simt_tile(p.row_values, p.row_pitch, first_row, p.n_rows, p.depth, k, rows);
                load_simt_tile(p.col_values, p.col_pitch, column, p.n_cols, p.depth, k, columns);
                sync();
                float chunk[Shape::kSlices][4] = {};
                for (int d = 0; d < Shape::kDepth; d += 4) {
                    const auto at = [&](const float* tile, int r) {
                        return *reinterpret_cast<const Float4*>(tile + r * Shape::kPitch + d);
                    };
                    const Float4 x[2] = {at(rows, 16 * warp + own_row(0, 0)), at(rows, 16 * warp + own_row(0, 2))};
#pragma unroll
                    for (int n = 0; n < Shape::kSlices; ++n) {
                        const Float4 t[2] = {at(columns, own_column(n, 0)), at(columns, own_column(n, 1))};
#pragma unroll
                        for (int e = 0; e < 4; ++e) {
                            const Float4 &a = x[e / 2], &b = t[e % 2];
                            chunk[n][e] = std::fma(a.x, b.x, chunk[n][e]);
                            chunk[n][e] = std::fma(a.y, b.y, chunk[n][e]);
                            chunk[n][e] = std::fma(a.z, b.z, chunk[n][e]);
                            chunk[n][e] = std::fma(a.w, b.w, chunk[n][e]);
                        }
                    }
                }
#pragma unroll
                for (int n = 0; n < Shape::kSlices; ++n)
#pragma unroll
                    for (int e = 0; e < 4; ++e) {
                        const float value = chunk[n][e] - lost[n][e], sum = acc[0][n][e] + value;
                        lost[n][e] = (sum - acc[0][n][e]) - value;
                        acc[0][n][e] = sum;
                    }
            }
            epilogue.tile(acc, column);
            const int64_t next = column + Shape::kColumns;
            if (next % kChunkColumns == 0 || next >= end) epilogue.flush(column / kChunkColumns);
        }
    }
}

}  // namespace hnscore::gpu

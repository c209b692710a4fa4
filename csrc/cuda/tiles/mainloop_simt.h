// The tile loop with float32 multiply-adds, for every GPU: what is left to a float32 product where many pairs count,
// and all there is before sm_80.
//
// A block of 4 warps has 64 x 64 pairs, a warp 16 x 64. For 4 values of depth a lane loads 2 rows and 16 columns, 16
// bytes each, for 128 multiply-adds: 18 loads of 64 or 128 distinct bytes a warp against 128 cycles of its scheduler.
//
// The depth is summed in chunks of 8, four of them are added up, and their sum is added with its rounding error kept
// (Kahan). Worst of 20,000 pairs with similarity 0.96, or of constant vectors, in units of 2^-24, emulated:
//                                  dim 32    64    512    4096    constant
//     chunks of 8                     2.7   2.9    1.6     1.1         2.5
//     of 16                           4.3   3.7    1.7     1.1         4.4
//     of 32                           6.7   5.0    2.4     1.3         8.4
//     of 32, without the errors       6.7   5.0    4.3    10.0         8.4
#pragma once

#include "cuda/epilogue/epilogue.h"
#include "cuda/tiles/work.h"

namespace hnscore::gpu {

constexpr int kSimtRows = 64, kSimtCols = 64, kSimtWarps = 4, kSimtThreads = 32 * kSimtWarps, kSimtSlices = 8;
constexpr int kSimtStep = 32, kSimtChunk = 8,
              kSimtPitch = kSimtStep + 4;  // floats; lanes of a quad then fall into different banks
constexpr int kSimtTileBytes = (kSimtRows + kSimtCols) * kSimtPitch * 4;
constexpr int kSimtScratchBytes = 1024;

inline int simt_shared_bytes(int64_t, int, const Tuning&) { return kSimtTileBytes + kSimtScratchBytes; }

constexpr Shape kSimtShape{kSimtRows, kSimtCols, kSimtThreads, 1, simt_shared_bytes};

// 64 rows of 32 values into shared memory; zeros beyond the last row and the depth.
HNSCORE_DEVICE void load_simt_tile(const void* values, int64_t pitch, int64_t first, int64_t count, int64_t depth,
                                   int64_t k, float* tile) {
    for (int at = thread(); at < kSimtRows * kSimtStep; at += kSimtThreads) {
        const int r = at / kSimtStep, d = at % kSimtStep;
        float value = 0;
        if (first + r < count && k + d < depth)
            value = reinterpret_cast<const float*>(static_cast<const char*>(values) + (first + r) * pitch)[k + d];
        tile[r * kSimtPitch + d] = value;
    }
}

template <template <int, int> class E, int64_t kChunk = kChunkColumns>
HNSCORE_KERNEL_BLOCKS(kSimtThreads, kSimtBlocks)
simt_kernel(const HNSCORE_GRID_CONSTANT Problem p) {
    using Epilogue = E<1, kSimtSlices>;
    using Scratch = typename Epilogue::Scratch;
    static_assert(kSimtWarps * sizeof(Scratch) <= kSimtScratchBytes && kChunk % kSimtCols == 0);
    if (!is_chosen(p)) return;
    float* rows = reinterpret_cast<float*>(shared());
    float* columns = rows + kSimtRows * kSimtPitch;
    const int warp = thread() / 32;
    Scratch& scratch = reinterpret_cast<Scratch*>(shared() + kSimtTileBytes)[warp];
    const uint32_t items = item_count(p);
    for (uint32_t i = block(); i < items; i += blocks()) {
        const Item item = item_at(p, i, kChunk);
        const int64_t first_row = item.row_block * kSimtRows;
        Epilogue epilogue(p, item.part, first_row + 16 * warp, scratch);
        for (int64_t col = item.first_col; col < item.end_col; col += kSimtCols) {
            float acc[1][kSimtSlices][4] = {}, rest[kSimtSlices][4] = {};  // what is still to be added
            for (int64_t k = 0; k < p.depth; k += kSimtStep) {
                sync();  // all warps are done with the step before
                load_simt_tile(p.row_values, p.row_pitch, first_row, p.n_rows, p.depth, k, rows);
                load_simt_tile(p.col_values, p.col_pitch, col, p.n_cols, p.depth, k, columns);
                sync();  // and this one has been stored by all
                float chunk[kSimtSlices][4] = {};
#pragma unroll 1
                for (int d = 0; d < kSimtStep; d += 4) {
                    const auto at = [&](const float* tile, int r) {
                        return *reinterpret_cast<const Float4*>(tile + r * kSimtPitch + d);
                    };
                    const Float4 x[2] = {at(rows, 16 * warp + own_row(0, 0)), at(rows, 16 * warp + own_row(0, 2))};
#pragma unroll
                    for (int n = 0; n < kSimtSlices; ++n) {
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
                    if ((d + 4) % kSimtChunk != 0) continue;
#pragma unroll
                    for (int n = 0; n < kSimtSlices; ++n)
#pragma unroll
                        for (int e = 0; e < 4; ++e) {
                            rest[n][e] += chunk[n][e];
                            chunk[n][e] = 0;
                        }
                }
#pragma unroll
                for (int n = 0; n < kSimtSlices; ++n)
#pragma unroll
                    for (int e = 0; e < 4; ++e) {
                        const float sum = acc[0][n][e] + rest[n][e];
                        rest[n][e] -= sum - acc[0][n][e];
                        acc[0][n][e] = sum;
                    }
            }
            epilogue.tile(acc, col);
            if (ends_chunk(item, col + kSimtCols, kChunk)) epilogue.flush(col / kChunk);
        }
    }
}

}  // namespace hnscore::gpu

// The tile loop of sm_80 and later: products by warps, operands by asynchronous copies.
//
// A block of 4 warps takes 128 rows and walks over the columns of its item in tiles of 128; each warp multiplies 32
// rows by all 128 columns. One step is 64 of the depth: 128 bytes of each row. Steps travel through a ring of 2 or 3
// stages that goes on over tiles and items, so that copies are under way while a tile's epilogue runs.
//
// In shared memory the 16-byte piece q of row r lies at piece q ^ (r % 8) of that row: both the copies and the loads of
// 8 rows at once then touch every bank once.
#pragma once

#include "cuda/tiles/work.h"

namespace hnscore::gpu {

constexpr int kMmaRows = 128, kMmaCols = 128, kMmaStep = 64;
constexpr int kMmaWarps = 4, kMmaThreads = 32 * kMmaWarps;
constexpr int kMmaStageBytes = (kMmaRows + kMmaCols) * kMmaStep * 2;
constexpr int kMmaScratchBytes = 2048;

HNSCORE_BOTH int mma_stages(int bytes) { return bytes < kMmaScratchBytes + 3 * kMmaStageBytes ? 2 : 3; }

// Where two blocks should share a processor, the limit is half of its memory.
inline int mma_shared_bytes(int64_t, int limit, const Tuning&) {
    const int bytes = kMmaScratchBytes + mma_stages(limit) * kMmaStageBytes;
    return bytes <= limit ? bytes : 0;
}

constexpr Shape kMmaShape{kMmaRows, kMmaCols, kMmaThreads, 1, mma_shared_bytes};

HNSCORE_DEVICE uint32_t piece_at(int row, int piece) { return row * 128 + ((piece ^ (row & 7)) << 4); }

// Copies one step of 128 rows from `first` on; zeros beyond the last row and beyond the depth.
HNSCORE_DEVICE void copy_step(uint32_t to, const void* values, int64_t pitch, int64_t count, int first, int64_t depth,
                              int step) {
    constexpr int kRowsAtOnce = kMmaThreads / 8;
    const int row = thread() / 8, piece = thread() % 8, value = step * kMmaStep + piece * 8;
    const int left = 2 * (static_cast<int>(depth) - value), bytes = left < 0 ? 0 : left < 16 ? left : 16;
    const int rows = static_cast<int>(count) - first;
    const char* from = static_cast<const char*>(values) + (first + row) * pitch + 2 * value;
    to += piece_at(row, piece);
#pragma unroll
    for (int i = 0; i < 128; i += kRowsAtOnce) {
        copy_async16(to + i * 128, from, row + i < rows ? bytes : 0);  // of 0 bytes nothing is read
        from += kRowsAtOnce * pitch;
    }
}

// Copies all steps of all items of this block, one at a call, in the order in which they are used.
template <int kChunk>
struct MmaCopies {
    const Problem& p;
    int steps, stages, stage = 0, step = 0;
    int index;
    Item item;
    int col;

    HNSCORE_DEVICE MmaCopies(const Problem& problem, int steps_of_tile, int n)
        : p(problem),
          steps(steps_of_tile),
          stages(n),
          index(block()),
          item(item_at(p, index, kChunk)),
          col(item.first_col) {}
    HNSCORE_DEVICE void next() {
        if (index < item_count(p)) {
            const uint32_t rows = shared_address(shared()) + stage * kMmaStageBytes;
            copy_step(rows, p.row_values, p.row_pitch, p.n_rows, item.row_block * kMmaRows, p.depth, step);
            copy_step(rows + kMmaRows * 128, p.col_values, p.col_pitch, p.n_cols, col, p.depth, step);
            stage = stage + 1 < stages ? stage + 1 : 0;
            advance();
        }
        // Also where nothing is left: then groups still count steps.
        copy_async_commit();
    }
    HNSCORE_DEVICE void advance() {
        if (++step < steps) return;
        step = 0;
        col += kMmaCols;
        if (col < item.end_col) return;
        index += blocks();
        item = item_at(p, index, kChunk);
        col = item.first_col;
    }
};

// acc += the products of one step. Lane l names the address of row l % 8 of matrix l / 8: matrices 1 and 3 are the next
// 8 rows and matrices 2 and 3 the next piece of `rows`, the other way round for `cols`. 16 values further along the
// depth are 2 pieces, which the swizzle makes an exclusive or.
template <class T>
HNSCORE_DEVICE void mma_step(float (&acc)[2][kMmaCols / 8][4], uint32_t rows, uint32_t cols) {
    rows += piece_at(lane() % 16, lane() / 16);
    cols += piece_at(lane() / 16 * 8 + lane() % 8, lane() / 8 % 2);
#pragma unroll
    for (int k = 0; k < kMmaStep / 16; ++k) {
        uint32_t a[2][4];
#pragma unroll
        for (int r = 0; r < 2; ++r) load_matrix4(a[r], (rows ^ k * 32) + r * 16 * 128);
#pragma unroll
        for (int n = 0; n < kMmaCols / 8; n += 2) {
            uint32_t b[4];
            load_matrix4(b, (cols ^ k * 32) + n * 8 * 128);
#pragma unroll
            for (int r = 0; r < 2; ++r) {
                mma<T>(acc[r][n], a[r], b[0], b[1]);
                mma<T>(acc[r][n + 1], a[r], b[2], b[3]);
            }
        }
    }
}

template <class T, template <int, int> class E, int kChunk = kChunkColumns>
HNSCORE_KERNEL_BLOCKS(kMmaThreads, 2)
mma_kernel(const HNSCORE_GRID_CONSTANT Problem p) {
    using Epilogue = E<2, kMmaCols / 8>;
    static_assert(kMmaWarps * sizeof(typename Epilogue::Scratch) <= kMmaScratchBytes && kChunk % kMmaCols == 0);
    if (!is_chosen(p)) return;
    const int stages = mma_stages(shared_size()), warp = thread() / 32;
    auto& scratch = reinterpret_cast<typename Epilogue::Scratch*>(shared() + stages * kMmaStageBytes)[warp];
    const uint32_t base = shared_address(shared());
    const int steps = static_cast<int>((p.depth + kMmaStep - 1) / kMmaStep);

    MmaCopies<kChunk> copies(p, steps, stages);
    for (int i = 1; i < stages; ++i) copies.next();
    int stage = 0;
    for (int i = block(); i < item_count(p); i += blocks()) {
        const Item item = item_at(p, i, kChunk);
        Epilogue epilogue(p, item.part, item.row_block * kMmaRows + warp * 32, scratch);
        for (int col = item.first_col; col < item.end_col; col += kMmaCols) {
            float acc[2][kMmaCols / 8][4] = {};
            for (int step = 0; step < steps; ++step) {
                // What this thread copied for the step has come.
                if (stages == 2)
                    copy_async_wait<0>();
                else
                    copy_async_wait<1>();
                // What the others copied, too; and all warps are done with the stage that the next copies go to.
                sync();
                copies.next();
                const uint32_t rows = base + stage * kMmaStageBytes;
                mma_step<T>(acc, rows + warp * 32 * 128, rows + kMmaRows * 128);
                stage = stage + 1 < stages ? stage + 1 : 0;
            }
            epilogue.tile(acc, col);
            if (ends_chunk(item, col + kMmaCols, kChunk)) epilogue.flush(col / kChunk);
        }
    }
}

}  // namespace hnscore::gpu

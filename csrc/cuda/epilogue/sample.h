// What a sample of the pairs says: whether few enough may count for each of them to be decided one by one.
#pragma once

#include "cuda/epilogue/epilogue.h"

namespace hnscore::gpu {

constexpr int kSampleThreads = 256, kSampleRows = 64, kSampleCols = 128;
constexpr int kSampleBytes = 2 * sizeof(int);  // of shared memory

// One block. *choice, of this call: 1 if more than one pair in Tuning::few_share may count. *kept, of all calls of a
// Scorer: 0, or 1 + the choice of an earlier call, which then stays; null: none. The kernels of a call read its own
// choice, since calls on other streams may come to know theirs meanwhile. Rows and columns are packed as float16.
HNSCORE_KERNEL(kSampleThreads) sample_kernel(const HNSCORE_GRID_CONSTANT Problem p, int* choice, int* kept) {
    int* hits = reinterpret_cast<int*>(shared());
    if (thread() == 0) {
        hits[0] = 0;
        hits[1] = kept ? *kept : 0;
    }
    sync();
    if (hits[1] != 0) {
        if (thread() == 0) *choice = hits[1] - 1;
        return;
    }
    const int rows = static_cast<int>(p.n_rows < kSampleRows ? p.n_rows : kSampleRows);
    const int cols = static_cast<int>(p.n_cols < kSampleCols ? p.n_cols : kSampleCols);
    int mine = 0;
    for (int at = thread(); at < rows * cols; at += kSampleThreads) {
        const int64_t i = at / cols * p.n_rows / rows, j = at % cols * p.n_cols / cols;
        const auto values = [](const void* all, int64_t pitch, int64_t row) {
            return reinterpret_cast<const uint16_t*>(static_cast<const char*>(all) + row * pitch);
        };
        const uint16_t *x = values(p.row_values, p.row_pitch, i), *t = values(p.col_values, p.col_pitch, j);
        float acc = 0;
        int64_t k = 0;
#pragma unroll 4
        for (; k + 8 <= p.depth; k += 8) {  // one block does all of this while the device waits
            const Float4 a = load4(reinterpret_cast<const Float4*>(x + k));
            const Float4 b = load4(reinterpret_cast<const Float4*>(t + k));
            uint16_t own[8], other[8];
            memcpy(own, &a, sizeof a);
            memcpy(other, &b, sizeof b);
            for (int v = 0; v < 8; ++v) acc = std::fma(from_half(own[v]), from_half(other[v]), acc);
        }
        for (; k < p.depth; ++k) acc = std::fma(from_half(x[k]), from_half(t[k]), acc);
        const RowFacts& f = p.row_facts[i];
        const ColumnFacts& c = p.col_facts[j];
        const float band = f.norm * c.norm * (f.error + *p.col_error + p.rounding);
        if (!(std::fma(-f.m, c.tau, acc) + band < 0)) ++mine;
    }
    atomic_add(hits, mine);
    sync();
    if (thread() != 0) return;
    *choice = *hits > rows * cols / p.tuning.few_share ? 1 : 0;
    if (kept) *kept = 1 + *choice;
}

}  // namespace hnscore::gpu

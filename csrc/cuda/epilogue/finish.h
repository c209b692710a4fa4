// The second pass: what the items left becomes one value a row, in a fixed order.
#pragma once

#include "cuda/epilogue/epilogue.h"

namespace hnscore::gpu {

constexpr int kFinishThreads = 128;

// A score from the sum of a row: over a divisor, at most a cap; NaN, or -1 for integers, where something was bad.
struct Scores {
    double divisor;
    int64_t cap;  // 0: none
    bool integer;
    void* out;  // float or int64_t, [row of the call]
    const int* bad_columns;

    HNSCORE_DEVICE void store(int64_t row, double sum, bool bad) const {
        bad = bad || *bad_columns != 0;
        if (cap > 0 && sum > static_cast<double>(cap)) sum = static_cast<double>(cap);
        sum /= divisor;
        if (integer)
            static_cast<int64_t*>(out)[row] = bad ? -1 : static_cast<int64_t>(sum);
        else
            static_cast<float*>(out)[row] = bad ? NAN : static_cast<float>(sum);
    }
};

struct SumFinish {
    const double* partial;  // [chunk][row of the launch]
    int64_t chunks, n_rows, first_row;
    const RowFacts* facts;
    Scores scores;
};

HNSCORE_KERNEL(kFinishThreads) finish_sums_kernel(const HNSCORE_GRID_CONSTANT SumFinish p) {
    const int64_t i = static_cast<int64_t>(block()) * kFinishThreads + thread();
    if (i >= p.n_rows) return;
    double sum = 0;
    for (int64_t c = 0; c < p.chunks; ++c) sum += p.partial[c * p.n_rows + i];
    p.scores.store(p.first_row + i, sum, std::isnan(p.facts[i].norm));
}

struct CountFinish {
    const double* partial;  // [chunk][row of the launch]
    int64_t chunks, n_rows, first_row;
    int64_t* counts;  // [chunk][row of the call]
    int64_t pitch;
};

HNSCORE_KERNEL(kFinishThreads) finish_counts_kernel(const HNSCORE_GRID_CONSTANT CountFinish p) {
    const int64_t i = static_cast<int64_t>(block()) * kFinishThreads + thread();
    if (i >= p.n_rows) return;
    for (int64_t c = 0; c < p.chunks; ++c)
        p.counts[c * p.pitch + p.first_row + i] = static_cast<int64_t>(p.partial[c * p.n_rows + i]);
}

HNSCORE_KERNEL(kFinishThreads) clear_top_kernel(TopEntry* entries, int64_t n) {
    const int64_t i = static_cast<int64_t>(block()) * kFinishThreads + thread();
    if (i < n) entries[i] = {-HUGE_VAL, kNoColumn};
}

struct TopFinish {
    const TopEntry* top;  // [part][row of the launch][k]
    int64_t parts, n_rows, first_row, k;
    const RowFacts* facts;
    // Outputs by row of the call; each may be null.
    double* values;  // (n, k)
    int64_t* indices;
    double* kth_value;
    int64_t* kth_row;
    const double* rank_weights;
    double* sums;  // sum_r rank_weights[r] key_r
    // sum_r weight_of(key_r)
    Recipe weight;
    double temperature;
    Scores scores;
};

// A warp a row: the k best entries of all parts, one after the other.
HNSCORE_KERNEL(kFinishThreads) finish_top_kernel(const HNSCORE_GRID_CONSTANT TopFinish p) {
    const int64_t i = (static_cast<int64_t>(block()) * kFinishThreads + thread()) / 32;
    if (i >= p.n_rows) return;
    const bool bad = std::isnan(p.facts[i].norm);
    const int64_t row = p.first_row + i;
    TopEntry last{HUGE_VAL, -1};
    double ranked = 0, weighed = 0;
    for (int64_t r = 0; r < p.k; ++r) {
        TopEntry best{-HUGE_VAL, kNoColumn};
        for (int64_t e = lane(); e < p.parts * p.k; e += 32) {
            const TopEntry entry = p.top[(e / p.k * p.n_rows + i) * p.k + e % p.k];
            if (ranks_before(last, entry) && ranks_before(entry, best)) best = entry;
        }
        for (int mask = 1; mask < 32; mask *= 2) {
            const TopEntry other{shfl_xor(best.key, mask), shfl_xor(best.column, mask)};
            if (ranks_before(other, best)) best = other;
        }
        const bool found = best.column != kNoColumn;
        if (found) {
            ranked += p.rank_weights ? p.rank_weights[r] * best.key : 0;
            weighed += weight_of(p.weight, best.key, best.key, p.temperature);
        }
        if (lane() == 0) {
            const double key = bad ? NAN : best.key;
            if (p.values) p.values[row * p.k + r] = key;
            if (p.indices) p.indices[row * p.k + r] = found ? best.column : -1;
            if (p.kth_value && r == p.k - 1) p.kth_value[row] = key;
            if (p.kth_row && r == p.k - 1) p.kth_row[row] = best.column;
        }
        last = best;
    }
    if (lane() != 0) return;
    if (p.sums) p.sums[row] = bad ? NAN : ranked;
    if (p.scores.out) p.scores.store(row, weighed, bad);
}

}  // namespace hnscore::gpu

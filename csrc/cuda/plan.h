// How a call is cut into launches. For backend.cu alone.
#pragma once

#include "cuda/call.h"
#include "cuda/device/hang.h"

namespace hnscore::gpu {

// What is lost by the sum of `depth` products, relative to the norms, and by the threshold's own roundings.
// Tensor cores align the addends of a step of 16 to the largest and cut them off below 24 bits: at most 18 units of
// 2^-23 of a value that Cauchy-Schwarz bounds, a step, of 17 addends and of their sum; 1.8 times that is claimed, and
// benchmarks/gpu/first_check.py measures it. float32: chunks of 8, four of them together, twice as much where a sum
// grows by more than it was, and what the last sum left: 15 units of 2^-24.
inline float rounding_of_sums(Operand operand, int64_t depth) {
    const double units = operand == Operand::single ? 2.0 * 15 + 16 : 4.0 * static_cast<double>(depth) + 32;
    return static_cast<float>(units * kUnit);
}

// What one launch needs beside the rules.
struct Plan {
    Engine engine;
    int64_t clusters;  // that run at a time

    Plan(const Device& d, Operand operand, int64_t depth, const Tuning& tuned)
        : engine(engine_for(d, operand, depth, tuned)) {
        if (engine.shared_bytes == 0)
            throw GpuError("GPU " + d.name + " has too little shared memory for these kernels");
        clusters = std::max<int64_t>(1, d.processors * engine.blocks_per_processor / engine.shape.cluster);
    }
    // Rows of a slab: whole waves of the device where there are that many.
    int64_t slab(int64_t bytes, int64_t bytes_a_row, int64_t rows) const {
        const int64_t wave = clusters * engine.shape.rows, fit = bytes / bytes_a_row;
        const int64_t whole =
            fit >= wave ? fit / wave * wave : std::max(fit / engine.shape.rows, int64_t{1}) * engine.shape.rows;
        return std::min(rows, whole);
    }
    // Columns are split where rows alone would leave a part of the device without work, in the last wave of items: into
    // the fewest parts with which the last wave ends earliest.
    int64_t chunks_per_item(int64_t rows, int64_t chunks) const {
        const int64_t row_blocks = divide_up(rows, engine.shape.rows);
        int64_t best = chunks, least = divide_up(row_blocks, clusters) * chunks;
        for (int64_t each = chunks - 1; each > 0; --each) {
            const int64_t time = divide_up(row_blocks * divide_up(chunks, each), clusters) * each;
            if (time < least) best = each, least = time;
        }
        return best;
    }
    // The same for rankings: a part has lists of its own, which cost memory and decisions, so that parts are no more
    // than it takes to have work for all.
    int64_t chunks_per_list(int64_t rows, int64_t chunks) const {
        const int64_t parts = std::min(chunks, divide_up(clusters, divide_up(rows, engine.shape.rows)));
        return divide_up(chunks, parts);
    }
    void run(Call& call, Pass pass, Recipe recipe, Problem& p) const {
        p.row_blocks = divide_up(p.n_rows, engine.shape.rows);
        const int64_t blocks = std::min<int64_t>(item_count(p), clusters) * engine.shape.cluster;
        p.wide = call.wide(blocks * kMostWarps);
        p.hangs = hang_words(call.device().index);
        engine.start(pass, recipe,
                     {blocks, engine.shape.threads, engine.shared_bytes, engine.shape.cluster, call.stream()}, p);
    }
};

}  // namespace hnscore::gpu

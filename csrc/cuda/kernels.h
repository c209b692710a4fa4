// The table of kernels: for each mainloop and operand one entry an epilogue.
#pragma once

#include "cuda/finish.h"
#include "cuda/rows.h"
#include "cuda/runtime.h"

namespace hnscore::gpu {

// Epilogues by name: the recipes of a sum; a count whose band is decided; all pairs decided; the k largest.
enum class Kind : int { count, hinge, squared_hinge, similarity, exp, exact_count, screen, top };
constexpr int kKinds = 8;

// Sums without a band, for the rounded precisions.
template <class W>
struct Rounded {
    template <int RM, int NB>
    using Epilogue = Sum<W, false, false, RM, NB>;
};
// Sums whose values are those of float32, for exact ones.
template <class W>
struct Accurate {
    template <int RM, int NB>
    using Epilogue = Sum<W, true, true, RM, NB>;
};
template <int RM, int NB>
using ExactCount = Sum<Count, true, false, RM, NB>;

// How a mainloop is started.
struct Mainloop {
    const char* name;
    int threads, rows, columns, cluster;  // of a block, but rows of a cluster
    // Blocks that an SM holds, of this shared memory each; 0: this depth does not fit.
    int (*shared_bytes)(int64_t depth, int limit);
    int blocks_per_processor;
    void (*start)(Operand operand, Kind kind, const Launch& launch, const Problem& p);
};

extern const Mainloop kSimt, kMma, kWgmma;

}  // namespace hnscore::gpu

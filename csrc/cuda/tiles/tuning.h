// What only a measurement on a GPU can decide. The defaults are estimates; benchmarks/gpu/tune.py measures the others.
// Scores do not depend on it, but for the kernel that "auto" chooses.
#pragma once

namespace hnscore::gpu {

// Two warpgroups of a block multiply the same columns. Where they stay in step, both run their epilogues at once, and
// the tensor cores wait.
enum class Apart : int {
    none,     // they find their own distance
    lead,     // the second one sleeps for half a tile before its first
    ordered,  // in every tile the second one waits until the first is half a tile ahead
};

struct Tuning {
    int resident_steps = 8;  // of 64 along the depth: rows that have no more stay in shared memory; at most 8
    int most_stages = 8;     // of the ring, 2 to 8
    Apart apart = Apart::none;
    // "auto" decides pairs one by one where at most one in so many may count. By estimate: a decided pair reads two
    // rows from the second-level cache or from memory, in as much time as 64 pairs of a float32 product take at depth
    // 512; both grow with the depth.
    int few_share = 64;
};

// For all calls of the process that begin later.
Tuning tuning();
void set_tuning(const Tuning& tuning);

}  // namespace hnscore::gpu

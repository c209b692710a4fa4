// What a warp waits for at a barrier: where it hangs, the message says so.
#pragma once

#include <cstdint>

#include "core/both.h"

namespace hnscore::gpu {

// Where warps of a device note what they wait for: a word each, of warps with the same place the last one's. More words
// than there are warps on any GPU at a time.
constexpr int kHangs = 4096, kMostWarps = 12;  // words; warps of a block
HNSCORE_BOTH int hang_place(int block, int warp) { return (block * kMostWarps + warp) % kHangs; }

enum class Awaited : int { operands, free_stage, free_rows, leader, follower };

struct Wait {
    Awaited what;
    int tile, step;   // of the columns, 256 wide; of the depth
    int stage;        // of the ring
    uint64_t* hangs;  // kHangs words of hang.h, where it is noted; null: nowhere
};

// The same in one word, which one store writes; 0 is none.
struct HangWord {
    int what, warp, block, stage, parity, tile, step;

    static HNSCORE_BOTH uint64_t pack(const Wait& w, int parity, int block, int warp) {
        return uint64_t{1} << 63 | static_cast<uint64_t>(w.what) << 60 | static_cast<uint64_t>(warp & 15) << 56 |
               static_cast<uint64_t>(block & 0xffff) << 40 | static_cast<uint64_t>(w.stage & 15) << 36 |
               static_cast<uint64_t>(parity & 1) << 32 | static_cast<uint64_t>(w.tile & 0xfffff) << 12 |
               static_cast<uint64_t>(w.step & 0xfff);
    }
    explicit HangWord(uint64_t word)
        : what(static_cast<int>(word >> 60 & 7)),
          warp(static_cast<int>(word >> 56 & 15)),
          block(static_cast<int>(word >> 40 & 0xffff)),
          stage(static_cast<int>(word >> 36 & 15)),
          parity(static_cast<int>(word >> 32 & 1)),
          tile(static_cast<int>(word >> 12 & 0xfffff)),
          step(static_cast<int>(word & 0xfff)) {}
};

}  // namespace hnscore::gpu

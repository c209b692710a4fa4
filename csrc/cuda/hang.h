// Who waits for what when a kernel hangs. With HNSCORE_HANG_SECONDS a barrier is waited for no longer than that: the
// warp then notes what it waits for, in memory of the host, which outlives the kernel, and traps. So a hang is an error
// that names itself.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <string>
#include <tuple>

#include "cuda/wait.h"

namespace hnscore::gpu {

inline const char* awaited_name(Awaited what) {
    switch (what) {
        case Awaited::operands:
            return "the operands of";
        case Awaited::free_stage:
            return "a free stage for";
        case Awaited::free_rows:
            return "the end of the products with the rows before those of";
        case Awaited::leader:
            return "the lead of the first warpgroup in";
        case Awaited::follower:
            return "the start of the second warpgroup in the tile before";
    }
    return "?";
}

// The words of a device, kHangs of them; null: it has none.
inline std::atomic<uint64_t*> hang_words[64] = {};

// What the warps of all devices note, the most frequent places first come first; "" where nothing hangs. It waits for
// no device.
inline std::string hang_text() {
    struct Found {
        int warps = 0, block = 0, warp = 0;
    };
    std::map<std::tuple<int, int, int, int, int>, Found> places;
    for (std::atomic<uint64_t*>& words : hang_words) {
        uint64_t* const table = words.load();
        for (int i = 0; table != nullptr && i < kHangs; ++i) {
            const uint64_t word = std::atomic_ref<uint64_t>(table[i]).load();
            if (word == 0) continue;
            const HangWord w(word);
            Found& found = places[{w.what, w.tile, w.step, w.stage, w.parity}];
            if (found.warps++ == 0) found.block = w.block, found.warp = w.warp;
        }
    }
    std::string text;
    int lines = 0;
    for (const auto& [place, found] : places) {
        const auto [what, tile, step, stage, parity] = place;
        if (++lines > 8) return text + "; and elsewhere";
        text += (text.empty() ? "" : "; ") + std::to_string(found.warps) + " warps (the first is warp " +
                std::to_string(found.warp) + " of block " + std::to_string(found.block) + ") wait for " +
                awaited_name(static_cast<Awaited>(what)) + " tile " + std::to_string(tile) + ", step " +
                std::to_string(step) + " (stage " + std::to_string(stage) + ", parity " + std::to_string(parity) + ")";
    }
    return text;
}

}  // namespace hnscore::gpu

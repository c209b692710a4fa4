#include "cuda/device/hang.h"

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <tuple>

#include "cuda/device/host_memory.h"
#include "cuda/device/wait.h"

namespace hnscore::gpu {
namespace {

std::atomic<uint64_t*> words_of[kMostDevices] = {};  // null: the device has none

const char* awaited_name(Awaited what) {
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

}  // namespace

uint64_t* hang_words([[maybe_unused]] int device) {
#if defined(HNSCORE_HANG_SECONDS) || defined(HNSCORE_EMULATE)
    static std::mutex guard;
    const std::lock_guard<std::mutex> lock(guard);
    std::atomic<uint64_t*>& words = words_of[checked_index(device)];
    if (words == nullptr) {
        auto* fresh = static_cast<uint64_t*>(mapped_memory(device, kHangs * sizeof(uint64_t)));
        std::fill_n(fresh, kHangs, 0);
        words = fresh;
    }
    return words;
#else
    return nullptr;
#endif
}

std::string hang_text() {
    struct Found {
        int warps = 0, block = 0, warp = 0;
    };
    std::map<std::tuple<int, int, int, int, int>, Found> places;
    for (std::atomic<uint64_t*>& words : words_of) {
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

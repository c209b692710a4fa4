// What goes on between the products of a block: the epilogue of the tile before, and fetches of what comes next.
#pragma once

#include "cpu/kernels/common-inl.h"
#include "cpu/target/amx.h"
#include "cpu/target/simd/amx.h"

namespace hnscore {
namespace HNSCORE_NS {

using amx::Carry;
using amx::Stage;
using amx::TileArea;

constexpr int64_t kStaying = 32 * 1024;
constexpr int kShare = 4;  // rows of an epilogue at a time, at least

// Lines of the next panel, a share with every block; or listed ones, a share with every step of the depth.
struct Ahead {
    const char* next;
    int lines;
    Ahead(const char* panel, int64_t bytes, int blocks)
        : next(panel), lines(static_cast<int>((bytes / 64 + blocks - 1) / blocks)) {}
    HNSCORE_INLINE void share() {
        for (int l = 0; l < lines; ++l) __builtin_prefetch(next + l * 64, 0, 2);
        next += lines * 64;
    }
    HNSCORE_INLINE void step() {}
};
struct ListAhead {
    Ahead panel;
    const char* const* next;
    const char* const* end;
    int64_t bytes, lines, byte = 0;  // of each; lines of a step
    HNSCORE_INLINE void share() { panel.share(); }
    HNSCORE_INLINE void step() {
        if (next == end) return;
        for (int64_t l = 0; l < lines; ++l, byte += 64) __builtin_prefetch(*next + byte, 0, 2);
        if (byte < bytes) return;
        byte = 0;
        ++next;
    }
};

// The stored tile whose epilogue is due.
struct Pending {
    const TileBlock& b;
    const Stage stage;
    TileArea area;
    Carry carry;
    int tile = -1, panel = 0;

    HNSCORE_INLINE bool some() const { return tile >= 0; }
    HNSCORE_INLINE void rows(int from, int to) { stage(b, area, tile, panel, from, to, carry); }
};

}  // namespace HNSCORE_NS
}  // namespace hnscore

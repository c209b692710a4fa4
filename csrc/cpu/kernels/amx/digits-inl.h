// Digits: 16 x 16 pairs, three levels in three accumulators.
//
//     level 0: A1 B1      level 1: A1 B2 + A2 B1      level 2: A1 B3 + A2 B2 + A3 B1
//
// Six loads and six products a step of 64 dims, every digit loaded once; 16 columns with all digits take 24 KiB at 512.
#pragma once

#include "cpu/kernels/amx/pending-inl.h"

namespace hnscore {
namespace HNSCORE_NS {

constexpr int64_t kDigitStep = 3 * 1024;  // bytes of 64 dims of 16 rows or columns

struct DigitBlock {
    const char *rows, *cols;
    int steps;
    const int32_t* before;  // the sums of earlier steps, or null
};

HNSCORE_INLINE int32_t* level(int32_t* sums, int l) { return sums + l * 256; }

// One block. Stores the accumulators of the one before to `old`, and runs its epilogue where it is `due`.
template <int p>
HNSCORE_INLINE void digit_block(const DigitBlock& d, int32_t* old, bool due, Pending& pending, Ahead& ahead) {
    constexpr int o2 = p, o1 = (p + 1) % 5, o0 = (p + 2) % 5, n2 = (p + 3) % 5, n1 = (p + 4) % 5, n0 = p;
    const char *a = d.rows, *b = d.cols;
    const auto begin = [&]<int t>(int l) {
        if (d.before)
            tile_load<t>(d.before + l * 256, 64);
        else
            tile_zero<t>();
    };
    tile_stream<5>(a, 64);
    tile_load<6>(b + 2048, 64);
    begin.template operator()<n2>(2);
    multiply_int8<n2, 5, 6>();
    tile_store<o2>(level(old, 2), 64);
    tile_load<6>(b + 1024, 64);
    begin.template operator()<n1>(1);
    multiply_int8<n1, 5, 6>();
    tile_store<o1>(level(old, 1), 64);
    tile_stream<7>(a + 1024, 64);
    multiply_int8<n2, 7, 6>();
    tile_store<o0>(level(old, 0), 64);
    tile_load<6>(b, 64);
    begin.template operator()<n0>(0);
    multiply_int8<n0, 5, 6>();
    multiply_int8<n1, 7, 6>();
    tile_stream<5>(a + 2048, 64);
    multiply_int8<n2, 5, 6>();
    ahead.share();
    const int room = d.steps > 2 ? d.steps - 1 : 1, even = (16 + room - 1) / room,
              share = even < kShare ? kShare : even;
    int r = 0;
#pragma GCC unroll 1
    for (int k = 1; k < d.steps; ++k) {
        a += kDigitStep;
        b += kDigitStep;
        tile_stream<5>(a, 64);
        tile_load<6>(b + 2048, 64);
        multiply_int8<n2, 5, 6>();
        tile_load<6>(b + 1024, 64);
        multiply_int8<n1, 5, 6>();
        tile_stream<7>(a + 1024, 64);
        multiply_int8<n2, 7, 6>();
        tile_load<6>(b, 64);
        multiply_int8<n0, 5, 6>();
        multiply_int8<n1, 7, 6>();
        tile_stream<5>(a + 2048, 64);
        multiply_int8<n2, 5, 6>();
        if (!due || r == 16) continue;
        const int to = r + share < 16 ? r + share : 16;
        pending.rows(r, to);
        r = to;
    }
    if (due && r < 16) pending.rows(r, 16);
}

template <int p>
HNSCORE_INLINE void store_digits(int32_t* old) {
    tile_store<p>(level(old, 2), 64);
    tile_store<(p + 1) % 5>(level(old, 1), 64);
    tile_store<(p + 2) % 5>(level(old, 0), 64);
}

// The lower digits' products too, A2 B3 + A3 B2, for rows whose largest value is far from the others. Rare: nothing is
// overlapped. They are added to level 2, rounded to its units.
inline void fine_block(const DigitBlock& d, const float* row_spread, const float* col_spread, TileArea& area) {
    const char *a = d.rows, *b = d.cols;
    tile_zero<0>();
    tile_zero<1>();
    tile_zero<2>();
    tile_zero<3>();
    for (int k = 0; k < d.steps; ++k, a += kDigitStep, b += kDigitStep) {
        tile_load<4>(a, 64);
        tile_load<5>(a + 1024, 64);
        tile_load<6>(a + 2048, 64);
        tile_load<7>(b, 64);
        multiply_int8<0, 4, 7>();
        multiply_int8<1, 5, 7>();
        multiply_int8<2, 6, 7>();
        tile_load<7>(b + 1024, 64);
        multiply_int8<1, 4, 7>();
        multiply_int8<2, 5, 7>();
        multiply_int8<3, 6, 7>();
        tile_load<7>(b + 2048, 64);
        multiply_int8<2, 4, 7>();
        multiply_int8<3, 5, 7>();
    }
    tile_store<0>(level(area.value, 0), 64);
    tile_store<1>(level(area.value, 1), 64);
    tile_store<2>(level(area.value, 2), 64);
    tile_store<3>(level(area.value, 3), 64);
    // Only where row and column ask for it: a pair's value depends on nothing else.
    for (int r = 0; r < 16; ++r)
        for (int c = 0; c < 16; ++c)
            if (row_spread[r] * col_spread[c] > 1)
                level(area.value, 2)[r * 16 + c] += (level(area.value, 3)[r * 16 + c] + 128) >> 8;
}

HNSCORE_INLINE float largest(const float* x) {
    float most = 0;
    for (int i = 0; i < 16; ++i) most = x[i] > most ? x[i] : most;
    return most;
}

inline void run_digits(const TileBlock& b, Stage stage) {
    Pending pending{b, stage, {}, {}};
    const Tiles tiles;
    const int steps = static_cast<int>(b.depth / 64);
    // Where a panel is too large to stay, all rows pass by a part of its depth, then by the next: sums wait in scratch.
    constexpr int kMostSteps = static_cast<int>(kStaying / kDigitStep);
    const int parts = b.tiles < 4 ? 1 : (steps + kMostSteps - 1) / kMostSteps, part = (steps + parts - 1) / parts;
    auto* waiting = reinterpret_cast<int32_t*>(b.scratch + 3 * 16 * 16);
    float* const tile_spread = b.scratch + 16 * 16;  // beside the tile that is handed on: room for 512
    for (int i = 0; i < b.tiles; ++i) tile_spread[i] = largest(b.row_spread + i * 16);
    int phase = 0;
    int32_t* old = pending.area.value;
    bool due = false;
    const auto end_last = [&] {
        switch (phase) {
#define HNSCORE_PHASE(p)      \
    case p:                   \
        store_digits<p>(old); \
        break;
            HNSCORE_PHASE(0) HNSCORE_PHASE(1) HNSCORE_PHASE(2) HNSCORE_PHASE(3) HNSCORE_PHASE(4)
#undef HNSCORE_PHASE
        }
        if (due) pending.rows(0, 16);
        due = false;
        old = pending.area.value;
    };
    for (int j = 0; j < b.panels; ++j) {
        const char* cols = b.cols + j * b.panel_bytes;
        const float panel_spread = largest(b.col_spread + j * 16);
        const auto is_fine = [&](int i) { return tile_spread[i] * panel_spread > 1; };
        Ahead ahead(cols + b.panel_bytes, b.panel_bytes, b.tiles * parts);
        int fine = 0;
        for (int first = 0; first < steps; first += part)
            for (int i = 0; i < b.tiles; ++i) {
                if (is_fine(i)) {
                    ++fine;
                    continue;
                }
                const bool last = first + part >= steps;
                const DigitBlock d{b.rows + i * b.tile_bytes + first * kDigitStep, cols + first * kDigitStep,
                                   last ? steps - first : part, first > 0 ? waiting + i * 768 : nullptr};
                switch (phase) {
#define HNSCORE_PHASE(p, next)                       \
    case p:                                          \
        digit_block<p>(d, old, due, pending, ahead); \
        phase = next;                                \
        break;
                    HNSCORE_PHASE(0, 3)
                    HNSCORE_PHASE(3, 1)
                    HNSCORE_PHASE(1, 4)
                    HNSCORE_PHASE(4, 2)
                    HNSCORE_PHASE(2, 0)
#undef HNSCORE_PHASE
                }
                due = last;
                old = last ? pending.area.value : waiting + i * 768;
                pending.tile = i;
                pending.panel = j;
            }
        if (fine == 0) continue;
        end_last();
        for (int i = 0; i < b.tiles; ++i) {
            if (!is_fine(i)) continue;
            fine_block({b.rows + i * b.tile_bytes, cols, steps, nullptr}, b.row_spread + i * 16, b.col_spread + j * 16,
                       pending.area);
            pending.tile = i;
            pending.panel = j;
            pending.rows(0, 16);
        }
    }
    end_last();
}

}  // namespace HNSCORE_NS
}  // namespace hnscore

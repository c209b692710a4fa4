// Whole values, bf16 or 8-bit codes: 32 x 32 pairs, 2 x 2 accumulators.
#pragma once

#include "cpu/kernels/amx/pending-inl.h"

namespace hnscore {
namespace HNSCORE_NS {

struct Int8Products {
    static constexpr int kDepth = 64;
    template <int c, int a, int b>
    static HNSCORE_INLINE void multiply() {
        multiply_int8<c, a, b>();
    }
};
struct Bf16Products {
    static constexpr int kDepth = 32;
    template <int c, int a, int b>
    static HNSCORE_INLINE void multiply() {
        multiply_bf16<c, a, b>();
    }
};

constexpr int64_t kWideStep = 2 * 1024;  // bytes of a step of the depth of 32 rows or columns

// As digit_block: a quarter of the pairs each in A0 B0, A0 B1, A1 B1, A1 B0.
template <class Products, int p, class P, class A>
HNSCORE_INLINE void wide_block(const char* rows, const char* cols, int steps, P& pending, A& ahead) {
    constexpr int o0 = (p + 1) % 5, o1 = (p + 2) % 5, o2 = (p + 3) % 5, o3 = (p + 4) % 5;
    constexpr int n0 = p, n1 = o0, n2 = o1, n3 = o2;
    int32_t* const area = pending.area.value;
    tile_stream<5>(rows, 64);
    tile_load<6>(cols, 128);
    tile_zero<n0>();
    Products::template multiply<n0, 5, 6>();
    tile_store<o0>(area, 128);
    tile_load<7>(cols + 64, 128);
    tile_zero<n1>();
    Products::template multiply<n1, 5, 7>();
    tile_store<o1>(area + 16, 128);
    tile_stream<5>(rows + 1024, 64);
    tile_zero<n2>();
    Products::template multiply<n2, 5, 7>();
    tile_store<o2>(area + 16 * 32 + 16, 128);
    tile_zero<n3>();
    Products::template multiply<n3, 5, 6>();
    tile_store<o3>(area + 16 * 32, 128);
    ahead.share();
    ahead.step();
    const int room = steps > 3 ? steps - 2 : 1, even = (32 + room - 1) / room, share = even < kShare ? kShare : even;
    int r = 0;
#pragma GCC unroll 1
    for (int k = 1; k < steps; ++k) {
        rows += kWideStep;
        cols += kWideStep;
        tile_stream<5>(rows, 64);
        tile_load<6>(cols, 128);
        Products::template multiply<n0, 5, 6>();
        tile_load<7>(cols + 64, 128);
        Products::template multiply<n1, 5, 7>();
        tile_stream<5>(rows + 1024, 64);
        Products::template multiply<n2, 5, 7>();
        Products::template multiply<n3, 5, 6>();
        ahead.step();
        if (!pending.some() || k == 1 || r == 32) continue;  // the stores take the first step
        const int to = r + share < 32 ? r + share : 32;
        pending.rows(r, to);
        r = to;
    }
    if (pending.some() && r < 32) pending.rows(r, 32);
}

template <int p, class P>
HNSCORE_INLINE void store_wide(P& pending) {
    int32_t* const area = pending.area.value;
    tile_store<(p + 1) % 5>(area, 128);
    tile_store<(p + 2) % 5>(area + 16, 128);
    tile_store<(p + 3) % 5>(area + 16 * 32 + 16, 128);
    tile_store<(p + 4) % 5>(area + 16 * 32, 128);
}

// All tiles of rows with each panel. P: a Pending; ahead_of(panel): what is fetched meanwhile.
template <class Products, class B, class P, class AheadOf>
HNSCORE_INLINE void run_wide(const B& b, int steps, P& pending, const AheadOf& ahead_of) {
    const Tiles tiles;
    int phase = 0;
    for (int j = 0; j < b.panels; ++j) {
        const char* cols = b.cols + j * b.panel_bytes;
        auto ahead = ahead_of(cols + b.panel_bytes);
        for (int i = 0; i < b.tiles; ++i) {
            const char* rows = b.rows + i * b.tile_bytes;
            switch (phase) {
#define HNSCORE_PHASE(p, next)                                      \
    case p:                                                         \
        wide_block<Products, p>(rows, cols, steps, pending, ahead); \
        phase = next;                                               \
        break;
                HNSCORE_PHASE(0, 4)
                HNSCORE_PHASE(4, 3)
                HNSCORE_PHASE(3, 2)
                HNSCORE_PHASE(2, 1)
                HNSCORE_PHASE(1, 0)
#undef HNSCORE_PHASE
            }
            pending.tile = i;
            pending.panel = j;
        }
    }
    switch (phase) {
#define HNSCORE_PHASE(p)        \
    case p:                     \
        store_wide<p>(pending); \
        break;
        HNSCORE_PHASE(0) HNSCORE_PHASE(1) HNSCORE_PHASE(2) HNSCORE_PHASE(3) HNSCORE_PHASE(4)
#undef HNSCORE_PHASE
    }
    pending.rows(0, 32);
}

inline void run_bf16(const TileBlock& b, Stage stage) {
    Pending pending{b, stage, {}, {}};
    run_wide<Bf16Products>(b, static_cast<int>(b.depth / 32), pending,
                           [&](const char* next) { return Ahead(next, b.panel_bytes, b.tiles); });
}

// What the unit can do: four accumulators, nothing loaded or stored.
template <class Products>
double tile_burst(int64_t iterations) {
    const Tiles tiles;
    for (int64_t i = 0; i < iterations; ++i) {
        Products::template multiply<0, 4, 6>();
        Products::template multiply<1, 4, 7>();
        Products::template multiply<2, 5, 6>();
        Products::template multiply<3, 5, 7>();
    }
    return 2.0 * 4 * 256 * Products::kDepth * static_cast<double>(iterations);
}

}  // namespace HNSCORE_NS
}  // namespace hnscore

// THE tile loops of target amx: 16-row matrix registers instead of vectors. A tile of products is stored to memory, a
// few KiB that never leave the first-level cache, and the epilogue of the recipe works on it from there.
//
// A product takes 16 cycles. In the table of record (benchmarks/results, 2026-11-28: rates beside the peaks of the
// units), whole calls at dim 512 run at 65 % (six products of digits) and 39 % (bf16) of what the unit can do. What it
// takes:
// - Five accumulators in rotation. The sums of one block leave their registers while the next block begins: its first
//   product goes to the fifth register, every later one to a register that was stored just before. Register numbers are
//   part of the instructions, so that the five phases are five copies of a block, and a switch picks one.
// - The epilogue of the last block runs between the products of this one, some rows after each step of the depth: it is
//   vector code, on other ports.
// - One side, a panel of columns of at most kStaying bytes, stays in the first-level cache. The rows stream from the
//   second level by loads that do not push it out. The next panel is fetched from the third level, some lines with
//   every block: that level gives 8 bytes a cycle.
#pragma once

#include "cpu/kernels/codes-avx512-inl.h"
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

// ---- Digits: 16 x 16 pairs, three levels in three accumulators ------------------------------------------------------
//
//     level 0: A1 B1      level 1: A1 B2 + A2 B1      level 2: A1 B3 + A2 B2 + A3 B1
//
// Six loads and six products a step of 64 dims, every digit loaded once; 16 columns with all digits take 24 KiB at 512.

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

// ---- Whole values: 32 x 32 pairs, 2 x 2 accumulators ----------------------------------------------------------------

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

// ---- The screen: 8-bit codes of all values, and what becomes of their products (cpu/target/screen.h)
// ----------------------

enum class Screening { sums, counts, top };

template <Screening kind>
struct PendingScreen {
    const ScreenBlock& b;
    TileArea area;
    int tile = -1, panel = 0;

    HNSCORE_INLINE bool some() const { return tile >= 0; }
    // 4 operations a vector; 7 where surely counting pairs are added up, or a top recipe drops more.
    HNSCORE_INLINE void rows(int from, int to) {
        const int64_t c = panel * 32;
        Simd::F32 bound[2], tau[2], other[2], base[2];
#pragma GCC unroll 2
        for (int v = 0; v < 2; ++v) {
            bound[v] = Simd::load(b.col_bound + c + v * 16);
            tau[v] = Simd::load(b.col_tau + c + v * 16);
            if constexpr (kind == Screening::counts) other[v] = Simd::load(b.col_above + c + v * 16);
            if constexpr (kind == Screening::top) {
                other[v] = Simd::load(b.col_unit + c + v * 16);
                base[v] = Simd::load(b.col_base + c + v * 16);
            }
        }
        const int64_t first = static_cast<int64_t>(tile) * 32;
        uint32_t* pairs = b.pairs + panel * b.pitch + first;
#pragma GCC unroll 1
        for (int r = from; r < to; ++r) {
            const Simd::F32 unit = Simd::set1(b.row_unit[first + r]), row_bound = Simd::set1(b.row_bound[first + r]);
            Simd::Mask survives[2], above[2];
#pragma GCC unroll 2
            for (int v = 0; v < 2; ++v) {
                const __m512i products = _mm512_load_si512(area.value + r * 32 + v * 16);
                const Simd::F32 product = Simd::mul(_mm512_cvtepi32_ps(products), unit);
                const Simd::F32 upper = Simd::fma(row_bound, bound[v], product);
                survives[v] = Simd::not_gt(tau[v], upper);
                if constexpr (kind == Screening::top) {
                    const Simd::F32 least = Simd::fma(Simd::set1(b.row_least[first + r]), other[v], base[v]);
                    survives[v] = Simd::mask_and(survives[v], Simd::not_gt(least, upper));
                }
                if constexpr (kind == Screening::counts)
                    above[v] = Simd::gt(Simd::fnma(row_bound, bound[v], product), other[v]);
            }
            uint32_t bits = _mm512_kunpackw(survives[1], survives[0]);
            if constexpr (kind == Screening::counts) {
                const uint32_t sure = _mm512_kunpackw(above[1], above[0]);
                b.sure[first + r] += __builtin_popcount(sure);
                bits &= ~sure;
            }
            pairs[r] = bits;
        }
    }
};

template <Screening kind>
inline void run_screen(const ScreenBlock& b) {
    PendingScreen<kind> pending{b, {}};
    const int steps = static_cast<int>(b.depth / 16);
    const int64_t all_steps = static_cast<int64_t>(b.tiles) * steps;
    const auto ahead_of = [&](const char* next) {
        // So many lines a step that the last of the listed is done in time.
        const int64_t each = b.n_ahead == 0 || b.n_ahead > all_steps ? 1 : all_steps / b.n_ahead;
        const int64_t lines = (b.ahead_bytes / 64 + each - 1) / each;
        return ListAhead{Ahead(next, b.panel_bytes, b.tiles), b.ahead, b.ahead + b.n_ahead, b.ahead_bytes, lines};
    };
    run_wide<Int8Products>(b, steps, pending, ahead_of);
}

inline void screen_sums(const ScreenBlock& b) {
    b.sure ? run_screen<Screening::counts>(b) : run_screen<Screening::sums>(b);
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

// ---- The tables -----------------------------------------------------------------------------------------------------

template <int recipe, bool kFiltered>
void digits(const TileBlock& b) {
    run_digits(b, amx::kDigitStages[kFiltered][recipe]);
}
template <int recipe, bool kFiltered>
void bf16(const TileBlock& b) {
    run_bf16(b, amx::kBf16Stages[kFiltered][recipe]);
}

// Rows of 768 KiB, or 1 MiB, stay in a second-level cache of 2 MiB.
constexpr Kernels kDigitKernels = {
    .operand = &amx::kDigits,
    .rows = 16,
    .cols = 16,
    .lanes = 16,
    .most_tiles = 64,
    .most_bytes = 768 * 1024,
    .scratch_per_tile = 3,
    .plain =
        {
#define HNSCORE_RECIPE(name, ...) digits<name, false>,
#include "recipes/recipes.def"
        },
    .filtered =
        {
#define HNSCORE_RECIPE(name, ...) digits<name, true>,
#include "recipes/recipes.def"
        },
};
constexpr Kernels kBf16Kernels = {
    .operand = &amx::kBf16Tiles,
    .rows = 32,
    .cols = 32,
    .lanes = 16,
    .most_tiles = 32,
    .most_bytes = 1024 * 1024,
    .scratch_per_tile = 0,
    .plain =
        {
#define HNSCORE_RECIPE(name, ...) bf16<name, false>,
#include "recipes/recipes.def"
        },
    .filtered =
        {
#define HNSCORE_RECIPE(name, ...) bf16<name, true>,
#include "recipes/recipes.def"
        },
};

// All values always: a prefix on a basis of 128 would cost half of this and leave ten times the pairs, at 110 each.
constexpr ScreenKernels kScreenKernels = {
    .rows = 32,
    .cols = 32,
    .row_words = 16,
    .code_bytes = 1,
    .depth_step = 64,
    .row_offset = 0,
    .has_basis = false,
    .refines = false,
    .by_column = true,
    .typical_error = 0.0062f,
    .second_error = 0,
    .encode = encode_int8,
    .encode_int8 = nullptr,
    .sums = screen_sums,
    .top = run_screen<Screening::top>,
    .list = nullptr,
    .refine = nullptr,
    .costs = {.dense_dim = 0.008,
              .dense_pair = 0.4,
              .screen_dim = 0.0012,
              .screen_pair = 0.15,
              .refine_dim = 0,
              .refine_pair = 0,
              .exact_dim = 0.15,
              .exact_pair = 40,
              .project_dim = 0,
              .encode_dim = 2},
};

}  // namespace HNSCORE_NS
}  // namespace hnscore

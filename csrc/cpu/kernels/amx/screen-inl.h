// The screen: 8-bit codes of all values, and what becomes of their products (cpu/target/screen.h).
#pragma once

#include "cpu/kernels/amx/wide-inl.h"
#include "cpu/target/screen.h"

namespace hnscore {
namespace HNSCORE_NS {

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

}  // namespace HNSCORE_NS
}  // namespace hnscore

// What becomes of a tile of products on registers: its epilogue, the sums of rows and columns, and the pairs handed on.
#pragma once

#include "cpu/kernels/products-inl.h"
#include "recipes/aggregate.h"

namespace hnscore {
namespace HNSCORE_NS {

// The shape of what an epilogue works on; a target may have tiles of another.
struct TileShape {
    static constexpr int kRows = HNSCORE_NS::kRows, kVectors = HNSCORE_NS::kVectors;
};

template <class Epilogue, bool kFiltered, class Shape = TileShape>
struct Finish {
    using Rule = Threshold<Simd, kFiltered>;
    static constexpr int kRows = Shape::kRows, kVectors = Shape::kVectors, kCols = kVectors * kLanes;

    struct Panel {
        typename Rule::Columns threshold[kVectors];
        Simd::F32 scale[kVectors], weight[kVectors], shift[kVectors], variance[kVectors], square[kVectors];
    };
    // What the rows of a tile leave: whether pairs must be handed on, and the sums of its columns.
    struct Left {
        Simd::Mask any;
        Simd::F32 column[kVectors];
    };

    static HNSCORE_INLINE Panel load_panel(const TileBlock& b, int panel) {
        Panel p;
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) {
            const int64_t c = static_cast<int64_t>(panel) * kCols + v * kLanes;
            p.threshold[v] = {Simd::load(b.tau + c),
                              Simd::load(b.tau_low + c),
                              Simd::load(b.col_band + c),
                              kFiltered ? Simd::load(b.col_limit + c) : Simd::zero(),
                              kFiltered ? Simd::load(b.col_least + c) : Simd::zero(),
                              kFiltered ? b.col_group + c : nullptr,
                              kFiltered ? b.col_owner + c : nullptr,
                              kFiltered ? b.col_order + c : nullptr};
            p.scale[v] = Simd::load(b.col_scale + c);
            p.weight[v] = kFiltered ? Simd::load(b.col_weight + c) : Simd::zero();
            p.shift[v] = Simd::load(b.col_shift + c);
            p.variance[v] = Simd::load(b.col_variance + c);
            p.square[v] = Simd::load(b.col_square + c);
        }
        return p;
    }
    static HNSCORE_INLINE typename Rule::Row load_row(const TileBlock& b, int64_t row) {
        return {Simd::set1(b.row_scale[row]),     Simd::set1(b.row_scale_low[row]),
                Simd::set1(b.row_band[row]),      kFiltered ? Simd::set1(b.row_limit[row]) : Simd::zero(),
                kFiltered ? b.row_group[row] : 0, kFiltered ? b.row_owner[row] : 0,
                kFiltered ? b.row_order[row] : 0};
    }
    static HNSCORE_INLINE Simd::F32 least(const TileBlock& b, int64_t row) {
        constexpr bool kHasLeast = Epilogue::kKind == Aggregate::top || Epilogue::kKind == Aggregate::list;
        return kHasLeast ? Simd::set1(b.row_state[row]) : Simd::zero();
    }
    static HNSCORE_INLINE Pairs<Simd> pairs(const TileBlock& b, const Panel& p, int v, int64_t row, Simd::F32 gap,
                                            Simd::F32 acc) {
        return {.gap = gap,
                .acc = acc,
                .scale = p.scale[v],
                .factor = Simd::set1(b.row_factor[row]),
                .shift = p.shift[v],
                .variance = Simd::add(Simd::set1(b.row_variance[row]), p.variance[v]),
                .square = Simd::add(Simd::set1(b.row_square[row]), p.square[v]),
                .rate = Simd::set1(b.rate),
                .half_dim = Simd::set1(b.half_dim),
                .square_error = Simd::set1(b.square_error)};
    }

    static HNSCORE_INLINE void start(Left& left) {
        left.any = Simd::mask_none();
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) left.column[v] = Simd::zero();
    }
    // Row r of tile i: acc(v) is its vector v.
    template <class Acc>
    static HNSCORE_INLINE void add_row(const TileBlock& b, const Panel& panel, int i, int r, const Acc& acc_of,
                                       Left& left) {
        const int64_t row = static_cast<int64_t>(i) * kRows + r;
        const typename Rule::Row limits = load_row(b, row);
        float* state = b.row_state + row * Epilogue::kStates * kLanes;
        Simd::F32 sum = Simd::zero();
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) {
            const Simd::F32 acc = acc_of(v);
            const auto d = Rule::decide(acc, limits, panel.threshold[v]);
            left.any =
                Simd::mask_or(left.any, Epilogue::template handed_on<Simd>(d, acc, panel.scale[v], least(b, row)));
            if constexpr (Epilogue::kKind == Aggregate::sum) {
                Simd::F32 term = Epilogue::template term<Simd>(pairs(b, panel, v, row, d.gap, acc));
                term = Simd::masked(d.inside, term);
                if constexpr (kFiltered) {
                    left.column[v] = Simd::fma(term, Simd::set1(b.row_weight[row]), left.column[v]);
                    term = Simd::mul(term, panel.weight[v]);
                }
                sum = Simd::add(sum, term);
            }
            if constexpr (Epilogue::kKind == Aggregate::log_sum) {
                const Pairs<Simd> p = pairs(b, panel, v, row, d.gap, acc);
                const Simd::Mask cancels = Epilogue::template cancels<Simd>(p);
                left.any = Simd::mask_or(left.any, Simd::mask_and(d.inside, cancels));
                Simd::F32 largest = Simd::load(state), kept = Simd::load(state + kLanes);
                Epilogue::template update<Simd>(Simd::mask_andnot(d.inside, cancels), Epilogue::template term<Simd>(p),
                                                largest, kept);
                Simd::store(state, largest);
                Simd::store(state + kLanes, kept);
            }
        }
        if constexpr (Epilogue::kKind == Aggregate::sum) Simd::store(state, Simd::add(Simd::load(state), sum));
    }
    // After the last row of a tile.
    static HNSCORE_INLINE void add_columns(const TileBlock& b, int j, const Left& left) {
        if constexpr (kFiltered && Epilogue::kKind == Aggregate::sum)
#pragma GCC unroll 4
            for (int v = 0; v < kVectors; ++v) {
                float* sums = b.col_sums + static_cast<int64_t>(j) * kCols + v * kLanes;
                Simd::store(sums, Simd::add(Simd::load(sums), left.column[v]));
            }
    }

    template <class Product>
    static HNSCORE_INLINE void apply(Tile<Product>& tile, const TileBlock& b, int i, int j) {
        const Panel panel = load_panel(b, j);
        Left left;
        start(left);
#pragma GCC unroll 16
        for (int r = 0; r < kRows; ++r) add_row(b, panel, i, r, [&](int v) { return tile.acc[r][v]; }, left);
        add_columns(b, j, left);
        if (__builtin_expect(Simd::bits(left.any) != 0, 0)) {
            TileSums<false> memory(b.scratch + 2 * kRows * kCols);
            tile.each([&](int r, int v, Simd::F32 a) { memory.set(r, v, a); });
            hand_on(b, i, j, memory.memory);
        }
    }

    // The rare half: decides once more from memory, this time keeping one word of pairs per row.
    static __attribute__((noinline)) void hand_on(const TileBlock& b, int i, int j, const float* memory) {
        static_assert(kCols <= 32);
        const Panel panel = load_panel(b, j);
        uint32_t pairs_of[kRows], sure[kRows], any = 0;
        for (int r = 0; r < kRows; ++r) {
            const int64_t row = static_cast<int64_t>(i) * kRows + r;
            const typename Rule::Row limits = load_row(b, row);
            pairs_of[r] = sure[r] = 0;
            for (int v = 0; v < kVectors; ++v) {
                const Simd::F32 acc = Simd::load(memory + r * kCols + v * kLanes);
                const auto d = Rule::decide(acc, limits, panel.threshold[v]);
                pairs_of[r] |= Simd::bits(Epilogue::template handed_on<Simd>(d, acc, panel.scale[v], least(b, row)))
                               << (v * kLanes);
                if constexpr (Epilogue::kKind == Aggregate::log_sum) {
                    const Simd::Mask cancels = Epilogue::template cancels<Simd>(pairs(b, panel, v, row, d.gap, acc));
                    pairs_of[r] |= Simd::bits(Simd::mask_and(d.inside, cancels)) << (v * kLanes);
                }
                sure[r] |= Simd::bits(d.inside) << (v * kLanes);
            }
            pairs_of[r] &= b.row_mask[row];
            any |= pairs_of[r];
        }
        if (any) b.resolve(b.context, i, j, pairs_of, sure, memory);
    }
};

}  // namespace HNSCORE_NS
}  // namespace hnscore

// THE tile loop. For every tile of rows and every panel of columns: products on registers, then the epilogue of the
// recipe on the same registers. The similarities of a tile exist nowhere else unless a pair must be looked at again.
//
// Budget at dim 512, per vector of the tile: 512 multiply-adds; 32 additions for the chunk sums, on ports of their own
// where the machine has them; 8 operations for the epilogue of a hinge sum.
//
// Included by every file in cpu/target/isa, which names the namespace (HNSCORE_NS) that holds its Simd.
#pragma once

#include <cstring>

#include "cpu/kernels/common-inl.h"
#include "recipes/aggregate.h"

namespace hnscore {
namespace HNSCORE_NS {

// How one step of the depth is multiplied: float32, one value at a time.
struct F32Product {
    using Element = float;
    static constexpr int kStep = 1, kChunk = hnscore::kChunk;
    static constexpr bool kOneChain = false;
    static inline Simd::F32 columns(const float* p) { return Simd::load(p); }
    static inline Simd::RowValue row(const float* p) { return Simd::row_value(*p); }
    static inline Simd::F32 add(Simd::RowValue a, Simd::F32 b, Simd::F32 c) { return Simd::add_product(a, b, c); }
};

// Sums of a tile beside its accumulators: on registers where a target has enough, else in memory.
template <bool kOnRegisters>
struct TileSums {
    Simd::F32 value[kRows][kVectors];
    explicit TileSums(float*) {}
    HNSCORE_INLINE Simd::F32 get(int r, int v) const { return value[r][v]; }
    HNSCORE_INLINE void set(int r, int v, Simd::F32 x) { value[r][v] = x; }
    HNSCORE_INLINE void settle() {}
};
template <>
struct TileSums<false> {
    float* memory;
    explicit TileSums(float* m) : memory(m) {}
    HNSCORE_INLINE Simd::F32 get(int r, int v) const { return Simd::load(memory + r * kCols + v * kLanes); }
    HNSCORE_INLINE void set(int r, int v, Simd::F32 x) { Simd::store(memory + r * kCols + v * kLanes, x); }
    // Without it the compiler keeps some of these sums on registers that the product loop needs.
    HNSCORE_INLINE void settle() { __asm__ volatile("" : : : "memory"); }
};

template <class Product>
struct Tile {
    using Element = typename Product::Element;
    static constexpr int kChunk = Product::kChunk;
    Simd::F32 acc[kRows][kVectors];

    // acc = the products of one chunk of the depth, or acc += them; rows are kChunk elements apart, a constant.
    template <bool kFresh>
    HNSCORE_INLINE void multiply(const Element* rows, const Element* cols, int64_t depth) {
        if constexpr (kFresh) each([](int, int, Simd::F32& a) { a = Simd::zero(); });
        // Eight values at a time: padded_depth() leaves no remainder, and the compiler need not provide for one.
        for (int64_t k = 0; k < depth; k += 8) {
#pragma GCC unroll 8
            for (int64_t step = k; step < k + 8; step += Product::kStep) {
                decltype(Product::columns(cols)) b[kVectors];
#pragma GCC unroll 4
                for (int v = 0; v < kVectors; ++v)
                    b[v] = Product::columns(cols + step * kCols + v * kLanes * Product::kStep);
#pragma GCC unroll 16
                for (int r = 0; r < kRows; ++r) {
                    const auto a = Product::row(rows + r * kChunk + step);
#pragma GCC unroll 4
                    for (int v = 0; v < kVectors; ++v) acc[r][v] = Product::add(a, b[v], acc[r][v]);
                }
            }
        }
    }

    template <class F>
    HNSCORE_INLINE void each(F f) {
#pragma GCC unroll 16
        for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
            for (int v = 0; v < kVectors; ++v) f(r, v, acc[r][v]);
    }

    // acc = all products: chunks added up within a group, groups added up in memory (cpu/target/target.h).
    HNSCORE_INLINE void run(const Element* rows, const Element* cols, int64_t depth, int64_t group_depth,
                            float* scratch) {
        if constexpr (Product::kOneChain) {
            each([](int, int, Simd::F32& a) { a = Simd::zero(); });
            for (int64_t k = 0; k < depth; k += kChunk, rows += kRows * kChunk, cols += kCols * kChunk)
                multiply<false>(rows, cols, depth - k < kChunk ? depth - k : kChunk);
            return;
        }
        TileSums<Simd::kSumsOnRegisters> chunks(scratch);
        TileSums<false> groups(scratch + kRows * kCols);
        for (bool first = true;; first = false) {
            each([&](int r, int v, Simd::F32) { chunks.set(r, v, Simd::zero()); });
            chunks.settle();
            for (int64_t k = 0; k < depth && k < group_depth; k += kChunk) {
                multiply<true>(rows, cols, depth - k < kChunk ? depth - k : kChunk);
                each([&](int r, int v, Simd::F32 a) { chunks.set(r, v, Simd::add(chunks.get(r, v), a)); });
                chunks.settle();
                rows += kRows * kChunk;
                cols += kCols * kChunk;
            }
            each([&](int r, int v, Simd::F32& a) { a = chunks.get(r, v); });
            if (!first) each([&](int r, int v, Simd::F32& a) { a = Simd::add(groups.get(r, v), a); });
            depth -= group_depth;
            if (depth <= 0) return;
            each([&](int r, int v, Simd::F32 a) { groups.set(r, v, a); });
        }
    }
};

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

template <class Product, class Epilogue, bool kFiltered>
void run_block(const TileBlock& b) {
    using Element = typename Product::Element;
    for (int i = 0; i < b.tiles; ++i) {
        const auto* rows = reinterpret_cast<const Element*>(b.rows + i * b.tile_bytes);
        for (int j = 0; j < b.panels; ++j) {
            const auto* cols = reinterpret_cast<const Element*>(b.cols + j * b.panel_bytes);
            Tile<Product> tile;
            tile.run(rows, cols, b.depth, b.group_depth, b.scratch);
            // The end of the product loop to the compiler too: what the epilogue needs is loaded here, not above, and
            // its wishes for registers do not reach into the loop.
            tile.each([](int, int, Simd::F32& a) { Simd::pin(a); });
            Finish<Epilogue, kFiltered>::apply(tile, b, i, j);
        }
    }
}

template <class Product>
void product(const char* rows, const char* cols, int64_t panel_bytes, int panels, int64_t depth, int64_t group_depth,
             float* scratch, float* out, int64_t pitch) {
    using Element = typename Product::Element;
    for (int j = 0; j < panels; ++j) {
        Tile<Product> tile;
        tile.run(reinterpret_cast<const Element*>(rows), reinterpret_cast<const Element*>(cols + j * panel_bytes),
                 depth, group_depth, scratch);
        tile.each([&](int r, int v, Simd::F32& a) {
            alignas(64) float values[kLanes];
            Simd::store(values, a);
            std::memcpy(out + r * pitch + j * kCols + v * kLanes, values, sizeof values);
        });
    }
}

template <class Product>
constexpr Kernels kernels(const TileFormat& operand) {
    return {
        .operand = &operand,
        .rows = kRows,
        .cols = kCols,
        .lanes = kLanes,
        // Their packed values share the second-level cache with a column block.
        .most_tiles = 16,
        .most_bytes = INT64_MAX,
        .scratch_per_tile = 0,
        .plain =
            {
#define HNSCORE_RECIPE(name, ...) run_block<Product, __VA_ARGS__, false>,
#include "recipes/recipes.def"
            },
        .filtered =
            {
#define HNSCORE_RECIPE(name, ...) run_block<Product, __VA_ARGS__, true>,
#include "recipes/recipes.def"
            },
    };
}

}  // namespace HNSCORE_NS
}  // namespace hnscore

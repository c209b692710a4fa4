// THE tile loop. For every tile of rows and every panel of columns: products on registers, then the epilogue of the
// recipe on the same registers. The similarities of a tile exist nowhere else unless a pair must be looked at again.
//
// Budget, per pair of vectors at dim 512: 1024 multiply-adds in the product loop; the epilogue of a hinge sum adds
// 8 operations, the two-level summation 3 per 64 multiply-adds, on ports of their own where the machine has them.
//
// Included by every file in cpu/targets, which names the namespace (HNSCORE_NS) that holds its Simd.
#include "core/problem.h"
#include "stages/aggregate.h"

namespace hnscore {
namespace HNSCORE_NS {

// How one step of the depth is multiplied: float32, one value at a time.
struct F32Product {
    using Element = float;
    static constexpr int kStep = 1;
    using Vector = Simd::F32;
    static inline Vector columns(const float* p) { return Simd::load(p); }
    static inline Vector row(const float* p) { return Simd::set1(*p); }
    static inline Simd::F32 add(Vector a, Vector b, Simd::F32 c) { return Simd::fma(a, b, c); }
};

constexpr int kRows = Simd::kRows, kVectors = Simd::kVectors, kLanes = Simd::kLanes, kCols = kVectors * kLanes;

#define HNSCORE_INLINE inline __attribute__((always_inline))

template <class Product>
struct Tile {
    using Element = typename Product::Element;
    Simd::F32 acc[kRows][kVectors];

    // acc = the products of one chunk of the depth; rows are kChunk elements apart, a constant.
    HNSCORE_INLINE void multiply(const Element* rows, const Element* cols, int64_t depth) {
#pragma GCC unroll 16
        for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
            for (int v = 0; v < kVectors; ++v) acc[r][v] = Simd::zero();
#pragma GCC unroll 2
        for (int64_t k = 0; k < depth; k += Product::kStep) {
            typename Product::Vector b[kVectors];
#pragma GCC unroll 4
            for (int v = 0; v < kVectors; ++v) b[v] = Product::columns(cols + k * kCols + v * kLanes * Product::kStep);
#pragma GCC unroll 16
            for (int r = 0; r < kRows; ++r) {
                const typename Product::Vector a = Product::row(rows + r * kChunk + k);
#pragma GCC unroll 4
                for (int v = 0; v < kVectors; ++v) acc[r][v] = Product::add(a, b[v], acc[r][v]);
            }
        }
    }

    template <class F>
    HNSCORE_INLINE void each(float* memory, F f) {
#pragma GCC unroll 16
        for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
            for (int v = 0; v < kVectors; ++v) f(acc[r][v], memory + r * kCols + v * kLanes);
    }
    HNSCORE_INLINE void store(float* memory) {
        each(memory, [](Simd::F32 a, float* p) { Simd::store(p, a); });
    }
    HNSCORE_INLINE void add_to(float* memory) {
        each(memory, [](Simd::F32 a, float* p) { Simd::store(p, Simd::add(Simd::load(p), a)); });
    }
    HNSCORE_INLINE void add(float* memory) {
        each(memory, [](Simd::F32& a, float* p) { a = Simd::add(Simd::load(p), a); });
    }

    // acc = all products, summed in chunks, groups of chunks, and groups (core/problem.h).
    HNSCORE_INLINE void run(const Element* rows, const Element* cols, int64_t depth, float* chunks, float* groups) {
        bool have_chunks = false, have_groups = false;
        for (int in_group = 1;; ++in_group) {
            const int64_t now = depth < kChunk ? depth : kChunk;
            multiply(rows, cols, now);
            depth -= now;
            if (depth == 0) break;
            rows += kRows * kChunk;
            cols += kCols * kChunk;
            if (have_chunks) add(chunks);
            have_chunks = in_group < kGroup;
            if (have_chunks) {
                store(chunks);
                continue;
            }
            in_group = 0;
            if (have_groups) add(groups);
            store(groups);
            have_groups = true;
        }
        if (have_chunks) add(chunks);
        if (have_groups) add(groups);
    }
};

template <class Epilogue, bool kFiltered>
struct Finish {
    using Rule = Threshold<Simd, kFiltered>;

    struct Panel {
        typename Rule::Columns threshold[kVectors];
        Simd::F32 scale[kVectors];
    };

    static HNSCORE_INLINE Panel load_panel(const TileBlock& b, int panel) {
        Panel p;
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) {
            const int64_t c = static_cast<int64_t>(panel) * kCols + v * kLanes;
            p.threshold[v] = {Simd::load(b.tau + c), Simd::load(b.band + c),
                              kFiltered ? Simd::load(b.col_limit + c) : Simd::zero(),
                              kFiltered ? b.col_group + c : nullptr, kFiltered ? b.col_owner + c : nullptr};
            p.scale[v] = Simd::load(b.col_scale + c);
        }
        return p;
    }
    static HNSCORE_INLINE typename Rule::Row load_row(const TileBlock& b, int64_t row) {
        return {Simd::set1(b.row_scale[row]), kFiltered ? Simd::set1(b.row_limit[row]) : Simd::zero(),
                kFiltered ? b.row_group[row] : 0, kFiltered ? b.row_owner[row] : 0};
    }
    static HNSCORE_INLINE Simd::F32 least(const TileBlock& b, int64_t row) {
        return Epilogue::kSums ? Simd::zero() : Simd::set1(b.row_state[row]);
    }

    template <class Product>
    static HNSCORE_INLINE void apply(Tile<Product>& tile, const TileBlock& b, int i, int j) {
        const Panel panel = load_panel(b, j);
        Simd::Mask any = Simd::mask_none();
#pragma GCC unroll 16
        for (int r = 0; r < kRows; ++r) {
            const int64_t row = static_cast<int64_t>(i) * kRows + r;
            const typename Rule::Row limits = load_row(b, row);
            Simd::F32 sum = Simd::zero();
#pragma GCC unroll 4
            for (int v = 0; v < kVectors; ++v) {
                const Simd::F32 acc = tile.acc[r][v];
                const auto d = Rule::decide(acc, limits, panel.threshold[v]);
                any = Simd::mask_or(any, Epilogue::template handed_on<Simd>(d, acc, panel.threshold[v].band,
                                                                           panel.scale[v], least(b, row)));
                if constexpr (Epilogue::kSums) {
                    const Simd::F32 factor = Simd::set1(b.row_factor[row]);
                    sum = Simd::add(sum, Simd::masked(d.inside, Epilogue::template term<Simd>(d.gap, acc, panel.scale[v],
                                                                                             factor)));
                }
            }
            if constexpr (Epilogue::kSums) {
                float* state = b.row_state + row * kLanes;
                Simd::store(state, Simd::add(Simd::load(state), sum));
            }
        }
        if (__builtin_expect(Simd::bits(any) != 0, 0)) {
            float* memory = b.scratch + 2 * kRows * kCols;
            tile.store(memory);
            hand_on(b, i, j, memory);
        }
    }

    // The rare half: decides once more from memory, this time keeping one word of pairs per row.
    static __attribute__((noinline)) void hand_on(const TileBlock& b, int i, int j, const float* memory) {
        static_assert(kCols <= 32);
        const Panel panel = load_panel(b, j);
        uint32_t pairs[kRows], sure[kRows], any = 0;
        for (int r = 0; r < kRows; ++r) {
            const int64_t row = static_cast<int64_t>(i) * kRows + r;
            const typename Rule::Row limits = load_row(b, row);
            pairs[r] = sure[r] = 0;
            for (int v = 0; v < kVectors; ++v) {
                const Simd::F32 acc = Simd::load(memory + r * kCols + v * kLanes);
                const auto d = Rule::decide(acc, limits, panel.threshold[v]);
                pairs[r] |= Simd::bits(Epilogue::template handed_on<Simd>(d, acc, panel.threshold[v].band, panel.scale[v],
                                                                          least(b, row)))
                            << (v * kLanes);
                sure[r] |= Simd::bits(d.inside) << (v * kLanes);
            }
            pairs[r] &= b.row_mask[row];
            any |= pairs[r];
        }
        if (any) b.resolve(b.context, i, j, pairs, sure, memory);
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
            tile.run(rows, cols, b.depth, b.scratch, b.scratch + kRows * kCols);
            Finish<Epilogue, kFiltered>::apply(tile, b, i, j);
        }
    }
}

template <class Product>
constexpr Kernels kernels() {
    return {
        {
#define HNSCORE_RECIPE(name, ...) run_block<Product, __VA_ARGS__, false>,
#include "stages/recipes.def"
        },
        {
#define HNSCORE_RECIPE(name, ...) run_block<Product, __VA_ARGS__, true>,
#include "stages/recipes.def"
        },
    };
}

}  // namespace HNSCORE_NS
}  // namespace hnscore

// Products of a tile of rows and a panel of columns, on registers.
#pragma once

#include "cpu/kernels/common-inl.h"

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

}  // namespace HNSCORE_NS
}  // namespace hnscore

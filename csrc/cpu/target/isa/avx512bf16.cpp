// AVX-512 with vdpbf16ps: the products of two bf16 pairs added to a float32 lane in one instruction, twice the rate of
// float32. Only the products differ; rows, epilogues and the float32 kernels are avx512's.
#include "cpu/target/simd/avx512.h"
#define HNSCORE_NS avx512bf16
namespace hnscore::avx512bf16 {
// bf16 products need no chunk sums beside them, so that 14 x 2 accumulators fit, with 2 column vectors and 1 row value;
// a 14 x 1 tile loads 15 vectors for 14 products, and Zen 4 loads one a cycle.
struct Simd : avx512::Simd {
    static constexpr int kVectors = 2;
};
}  // namespace hnscore::avx512bf16
#include "cpu/kernels/tile-inl.h"

namespace hnscore {
namespace avx512bf16 {

struct Bf16Product {
    using Element = uint16_t;
    static constexpr int kStep = 2, kChunk = kChunkBf16;
    static constexpr bool kOneChain = true;  // next to the rounding of bf16 the length of a chain is nothing
    static inline __m512bh columns(const uint16_t* p) { return reinterpret_cast<__m512bh>(_mm512_load_si512(p)); }
    static inline __m512bh row(const uint16_t* p) {
        int32_t pair;
        __builtin_memcpy(&pair, p, 4);
        return reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair));
    }
    static inline Simd::F32 add(__m512bh a, __m512bh b, Simd::F32 c) { return _mm512_dpbf16_ps(c, a, b); }
};

namespace {

double burst(int64_t iterations) {
    __m512 sums[16] = {};
    __m512i a = _mm512_set1_epi32(0), b = a;
    __asm__ volatile("" : "+v"(a), "+v"(b));
    for (int64_t i = 0; i < iterations; ++i)
#pragma GCC unroll 16
        for (__m512& sum : sums)
            sum = _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
    for (__m512& sum : sums) __asm__ volatile("" : "+v"(sum));
    return 2.0 * 16 * 32 * static_cast<double>(iterations);
}

}  // namespace

extern const Burst kBf16Burst;
const Burst kBf16Burst = burst;
extern const Kernels kKernels;
const Kernels kKernels = kernels<Bf16Product>(kBf16);

}  // namespace avx512bf16
}  // namespace hnscore

// Matrix tiles of Intel AMX: eight registers of 16 rows of 64 bytes, and the operations on them that hnscore uses. By
// inline assembler with constraints that say what is read and written (the intrinsics of GCC 12 do not), so that no
// compiler flag is needed; or, with HNSCORE_EMULATE_AMX, in plain C++ with the same bits.
//
// Cycles on the processors of 2023 to 2025: a product 16; a load 11 from L1, 22 from L2, 140 from L3; a store 18.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace hnscore {
namespace HNSCORE_NS {

struct alignas(64) TileConfig {  // palette 1
    uint8_t palette = 1, start = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

#ifndef HNSCORE_EMULATE_AMX

HNSCORE_INLINE void configure_tiles(const TileConfig& c) { __asm__ volatile("ldtilecfg %0" : : "m"(c) : "memory"); }
HNSCORE_INLINE void release_tiles() { __asm__ volatile("tilerelease" : : : "memory"); }
template <int t>
HNSCORE_INLINE void tile_zero() {
    __asm__ volatile("tilezero %%tmm%c0" : : "i"(t));
}
// 16 rows of 64 bytes, `stride` apart. The memory is an operand in spirit only: whoever packs it ends with
// configure_tiles(), which no access to memory is moved across.
template <int t>
HNSCORE_INLINE void tile_load(const void* p, int64_t stride) {
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(p), "r"(stride), "i"(t));
}
// The same for what is read once: it does not push other lines out of L1.
template <int t>
HNSCORE_INLINE void tile_stream(const void* p, int64_t stride) {
    __asm__ volatile("tileloaddt1 (%0,%1,1), %%tmm%c2" : : "r"(p), "r"(stride), "i"(t));
}
template <int t>
HNSCORE_INLINE void tile_store(void* p, int64_t stride) {
    __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(p), "r"(stride), "i"(t) : "memory");
}
// c[m][n] += sum over k of a[m][4k + i] b[k][4n + i], i = 0 .. 3, in int32.
template <int c, int a, int b>
HNSCORE_INLINE void multiply_int8() {
    __asm__ volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(c), "i"(a), "i"(b));
}
// c[m][n] += sum over k of a[m][2k + i] b[k][2n + i], i = 0, 1, in float32.
template <int c, int a, int b>
HNSCORE_INLINE void multiply_bf16() {
    __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(c), "i"(a), "i"(b));
}

#else

struct EmulatedTiles {
    bool configured = false;
    alignas(64) uint8_t bytes[8][16][64];
};
inline EmulatedTiles& emulated_tiles() {
    static thread_local EmulatedTiles tiles;
    return tiles;
}
inline uint8_t (*emulated_tile(int t))[64] {
    if (!emulated_tiles().configured) __builtin_trap();  // as the processor would
    return emulated_tiles().bytes[t];
}
inline void configure_tiles(const TileConfig&) {
    std::memset(emulated_tiles().bytes, 0, sizeof emulated_tiles().bytes);
    emulated_tiles().configured = true;
}
inline void release_tiles() { emulated_tiles().configured = false; }
template <int t>
inline void tile_zero() {
    std::memset(emulated_tile(t), 0, 1024);
}
template <int t>
inline void tile_load(const void* p, int64_t stride) {
    for (int r = 0; r < 16; ++r) std::memcpy(emulated_tile(t)[r], static_cast<const char*>(p) + r * stride, 64);
}
template <int t>
inline void tile_stream(const void* p, int64_t stride) {
    tile_load<t>(p, stride);
}
template <int t>
inline void tile_store(void* p, int64_t stride) {
    for (int r = 0; r < 16; ++r) std::memcpy(static_cast<char*>(p) + r * stride, emulated_tile(t)[r], 64);
}
template <class T>
inline T tile_value(const uint8_t* row, int i) {
    T value;
    std::memcpy(&value, row + i * static_cast<int>(sizeof(T)), sizeof(T));
    return value;
}
template <int c, int a, int b>
inline void multiply_int8() {
    const auto rows = emulated_tile(a), columns = emulated_tile(b);
    for (int m = 0; m < 16; ++m) {
        int32_t sums[16];
        std::memcpy(sums, emulated_tile(c)[m], 64);
        for (int k = 0; k < 16; ++k)
            for (int n = 0; n < 16; ++n) {
                int32_t sum = 0;
                for (int i = 0; i < 4; ++i)
                    sum += tile_value<int8_t>(rows[m], 4 * k + i) * tile_value<int8_t>(columns[k], 4 * n + i);
                sums[n] = static_cast<int32_t>(static_cast<uint32_t>(sums[n]) + static_cast<uint32_t>(sum));
            }
        std::memcpy(emulated_tile(c)[m], sums, 64);
    }
}
// Found by experiment: two chains of fused multiply-adds over k, of the even and of the odd values, from 0; their sum;
// then that is added to c. Subnormal inputs and results are 0 with their sign, whatever MXCSR says.
inline float without_subnormals(float x) { return std::fabs(x) < 0x1p-126f ? std::copysign(0.0f, x) : x; }
inline float tile_bf16(const uint8_t* row, int i) {
    const uint32_t bits = static_cast<uint32_t>(tile_value<uint16_t>(row, i)) << 16;
    float value;
    std::memcpy(&value, &bits, 4);
    return without_subnormals(value);
}
template <int c, int a, int b>
inline void multiply_bf16() {
    const auto rows = emulated_tile(a), columns = emulated_tile(b);
    for (int m = 0; m < 16; ++m)
        for (int n = 0; n < 16; ++n) {
            float chains[2] = {0, 0};
            for (int k = 0; k < 16; ++k)
                for (int i = 0; i < 2; ++i)
                    chains[i] = without_subnormals(
                        Simd::fma(tile_bf16(rows[m], 2 * k + i), tile_bf16(columns[k], 2 * n + i), chains[i]));
            const float before = without_subnormals(tile_value<float>(emulated_tile(c)[m], n));
            const float sum = without_subnormals(before + without_subnormals(chains[0] + chains[1]));
            std::memcpy(emulated_tile(c)[m] + 4 * n, &sum, 4);
        }
}

#endif

// The tiles of a thread while a kernel runs.
struct Tiles {
    Tiles() { configure_tiles(TileConfig{}); }
    ~Tiles() { release_tiles(); }
    Tiles(const Tiles&) = delete;
};

}  // namespace HNSCORE_NS
}  // namespace hnscore

// 16-bit floating-point values, rounded to nearest even.
#pragma once

#include <bit>
#include <cstdint>

namespace hnscore::gpu::emulator {

inline float half_value(uint16_t h) {
    const uint32_t sign = static_cast<uint32_t>(h & 0x8000) << 16, magnitude = static_cast<uint32_t>(h & 0x7FFF) << 13;
    if (magnitude >= 0x0F800000) return std::bit_cast<float>(sign | magnitude | 0x7F800000);  // infinite, NaN
    return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) * 0x1p112f));
}

inline uint16_t half_bits(float x) {
    const uint32_t bits = std::bit_cast<uint32_t>(x), sign = bits >> 16 & 0x8000;
    const float magnitude = std::bit_cast<float>(bits & 0x7FFFFFFF);
    if (magnitude != magnitude) return 0x7FFF;
    if (magnitude >= 65520.0f) return static_cast<uint16_t>(sign | 0x7C00);
    if (magnitude < 0x1p-14f) {  // subnormal: a multiple of 2^-24, which the addition rounds to
        const uint32_t rounded = std::bit_cast<uint32_t>(magnitude + 0.5f) - std::bit_cast<uint32_t>(0.5f);
        return static_cast<uint16_t>(sign | rounded);
    }
    const uint32_t m = std::bit_cast<uint32_t>(magnitude) - (112u << 23);
    return static_cast<uint16_t>(sign | (m + 0xFFF + (m >> 13 & 1)) >> 13);
}

inline float bf16_value(uint16_t h) { return std::bit_cast<float>(static_cast<uint32_t>(h) << 16); }

inline uint16_t bf16_bits(float x) {
    const uint32_t bits = std::bit_cast<uint32_t>(x);
    if (x != x) return 0x7FFF;
    return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

}  // namespace hnscore::gpu::emulator

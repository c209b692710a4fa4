// Kernels in 16 bits: those of a float32 from its 3rd exponent bit on, rounded up, of values from 2^-31 to 1. Smaller
// ones become 2^-31.
#pragma once

#include <bit>
#include <cstdint>

#include "cpu/target/target.h"

namespace hnscore {

constexpr int kKernelShift = 12;
constexpr uint32_t kKernelBase = (127u - 31u) << (23 - kKernelShift);

inline float kernel_of(uint16_t code) { return std::bit_cast<float>((code + kKernelBase) << kKernelShift); }

// The first code whose kernel is above x, where x >= 0; 0 below all kernels.
inline uint16_t first_above(float x) {
    const uint32_t bits = std::bit_cast<uint32_t>(x) >> kKernelShift;
    return bits < kKernelBase ? 0 : static_cast<uint16_t>(bits - kKernelBase + 1);
}

// float64 as float32, of numbers that are not negative.
inline float rounded_up(double x) { return static_cast<float>(x * (1 + 2 * kUnit)); }
inline float rounded_down(double x) { return static_cast<float>(x * (1 - 2 * kUnit)); }

}  // namespace hnscore

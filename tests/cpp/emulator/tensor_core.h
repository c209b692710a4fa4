// Matrix products as a tensor core adds them up, but worse than any does: the 16 products of a step and the sum so far
// are aligned to the largest of them and cut off after 24 bits, and so is their sum. What holds here holds on hardware.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "cuda/device/gpu.h"
#include "emulator/half.h"

namespace hnscore::gpu::emulator {

inline float element(Half, uint16_t bits) { return half_value(bits); }
inline float element(Bf16, uint16_t bits) { return bf16_value(bits); }

constexpr int kStep = 16;  // depth of an instruction
constexpr int kLanes = 4;
using Floats = float __attribute__((vector_size(4 * kLanes)));
using Ints = int32_t __attribute__((vector_size(4 * kLanes)));
using Unsigned = uint32_t __attribute__((vector_size(4 * kLanes)));

// sums[column] += a[k] b[k][column] of one row, for a multiple of 4 columns.
inline void add_products(const float (&a)[kStep], const float* b, int pitch, float* sums, int columns) {
    const auto bits = [](Floats x) { return std::bit_cast<Ints>(x); };
    for (int column = 0; column < columns; column += kLanes) {
        Floats sum, product[kStep];
        std::memcpy(&sum, sums + column, sizeof sum);
        Ints largest = bits(sum) & 0x7FFFFFFF;  // magnitudes compare as integers; NaN is the largest
        for (int k = 0; k < kStep; ++k) {
            std::memcpy(&product[k], b + k * pitch + column, sizeof sum);
            product[k] *= a[k];
            const Ints magnitude = bits(product[k]) & 0x7FFFFFFF;
            largest = magnitude > largest ? magnitude : largest;
        }
        const Ints special = largest >= 0x7F800000, least = Ints{} + (24 << 23);
        const Unsigned exponent = std::bit_cast<Unsigned>((largest > least ? largest : least) & 0x7F800000);
        const Floats scale = std::bit_cast<Floats>((277u << 23) - exponent);  // puts the largest at 2^23
        const Floats unit = std::bit_cast<Floats>(exponent - (23u << 23));
        // Not more than 29 bits; unsigned, since what comes of infinities may overflow.
        const auto aligned = [&](Floats x) {
            return std::bit_cast<Unsigned>(__builtin_convertvector(x * scale, Ints));
        };
        Unsigned sum_of_all = aligned(sum);
        for (int k = 0; k < kStep; ++k) sum_of_all += aligned(product[k]);
        const Ints total = std::bit_cast<Ints>(sum_of_all);
        const Ints size = std::bit_cast<Ints>(total < 0 ? -sum_of_all : sum_of_all);
        // The first 24 bits stay.
        Floats cut = __builtin_convertvector(size, Floats);
        cut = std::bit_cast<Floats>(bits(cut) + (__builtin_convertvector(cut, Ints) > size));  // true is -1
        Floats result =
            std::bit_cast<Floats>(bits(cut * unit) | (bits(__builtin_convertvector(total, Floats)) & INT32_MIN));
        for (int lane = 0; lane < kLanes; ++lane) {
            if (special[lane] == 0) continue;
            result[lane] = sum[lane];
            for (int k = 0; k < kStep; ++k) result[lane] += product[k][lane];
        }
        std::memcpy(sums + column, &result, sizeof result);
    }
}

// Where element e of the accumulators that lane l of a warp holds is, in blocks of 16 rows and 8 columns.
constexpr int fragment_row(int lane, int e) { return lane / 4 + (e & 2) * 4; }
constexpr int fragment_column(int lane, int e) { return lane % 4 * 2 + (e & 1); }

}  // namespace hnscore::gpu::emulator

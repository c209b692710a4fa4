// Products of two rows in float64 by groups of 8 lanes, four pairs a warp at a time: what decides the pairs that a tile
// cannot. Value k belongs to lane (k / 4) % 8 and to that lane's chain k % 4, wherever the row lies: one order of
// addition for any chunk, stride and alignment.
#pragma once

#include <cmath>
#include <cstring>

#include "core/wide_sum.h"
#include "cuda/tiles/problem.h"

namespace hnscore::gpu {

constexpr int kGroupLanes = 8, kGroups = 4, kChains = 4;

HNSCORE_DEVICE const char* row_address(const Rows& rows, int64_t i) {
    return rows.view.data + (rows.pick ? rows.pick[i] : i) * rows.view.row_stride;
}

template <class T>
HNSCORE_DEVICE T load(const char* p) {
    return *reinterpret_cast<const T*>(p);
}

// Value k of a row, exactly; integers of 64 bits are rounded to float64, as NumPy does.
HNSCORE_DEVICE double load_value(const View& view, const char* row, int64_t k) {
    const char* p = row + k * view.col_stride;
    switch (view.dtype) {
        case DType::f16:
            return static_cast<double>(from_half(load<uint16_t>(p)));
        case DType::bf16:
            return static_cast<double>(from_bf16(load<uint16_t>(p)));
        case DType::f32:
            return static_cast<double>(load<float>(p));
        case DType::f64:
            return load<double>(p);
        case DType::i8:
            return static_cast<double>(load<int8_t>(p));
        case DType::u8:
            return static_cast<double>(load<uint8_t>(p));
        case DType::i16:
            return static_cast<double>(load<int16_t>(p));
        case DType::u16:
            return static_cast<double>(load<uint16_t>(p));
        case DType::i32:
            return static_cast<double>(load<int32_t>(p));
        case DType::u32:
            return static_cast<double>(load<uint32_t>(p));
        case DType::i64:
            return static_cast<double>(load<int64_t>(p));
        default:
            return static_cast<double>(load<uint64_t>(p));
    }
}

// Four adjacent values at once, where they lie so.
struct FourFloats {
    static constexpr int kBytes = 16;
    static HNSCORE_DEVICE void get(const char* p, double (&v)[4]) {
        const Float4 x = load4(reinterpret_cast<const Float4*>(p));
        v[0] = x.x, v[1] = x.y, v[2] = x.z, v[3] = x.w;
    }
};
template <float (*kWiden)(uint16_t)>
struct FourShort {
    static constexpr int kBytes = 8;
    static HNSCORE_DEVICE void get(const char* p, double (&v)[4]) {
        const Float2 x = load2(reinterpret_cast<const Float2*>(p));
        uint32_t low, high;
        memcpy(&low, &x.x, 4);
        memcpy(&high, &x.y, 4);
        v[0] = kWiden(static_cast<uint16_t>(low)), v[1] = kWiden(static_cast<uint16_t>(low >> 16));
        v[2] = kWiden(static_cast<uint16_t>(high)), v[3] = kWiden(static_cast<uint16_t>(high >> 16));
    }
};

// Whether a row lies so that it can be read by fours.
template <class Four>
HNSCORE_DEVICE bool lies_in_fours(const View& view, const char* row) {
    return view.col_stride == Four::kBytes / kChains && view.dim % kChains == 0 &&
           reinterpret_cast<uintptr_t>(row) % Four::kBytes == 0;
}

template <class Four, class F>
HNSCORE_DEVICE bool for_own_four_values(const View& view, const char* row, F f) {
    if (!lies_in_fours<Four>(view, row)) return false;
#pragma unroll 4
    for (int64_t k = kChains * (lane() % kGroupLanes); k < view.dim; k += kChains * kGroupLanes) {
        double x[kChains];
        Four::get(row + Four::kBytes / kChains * k, x);
        for (int c = 0; c < kChains; ++c) f(k + c, x[c]);
    }
    return true;
}

// Calls f(k, value) for the values of a row that belong to this lane of its group.
template <class F>
HNSCORE_DEVICE void for_own_values(const View& view, const char* row, F f) {
    if (view.dtype == DType::f32 && for_own_four_values<FourFloats>(view, row, f)) return;
    if (view.dtype == DType::f16 && for_own_four_values<FourShort<from_half>>(view, row, f)) return;
    if (view.dtype == DType::bf16 && for_own_four_values<FourShort<from_bf16>>(view, row, f)) return;
    for (int64_t k = kChains * (lane() % kGroupLanes); k < view.dim; k += kChains * kGroupLanes)
        for (int c = 0; c < kChains; ++c)
            if (k + c < view.dim) f(k + c, load_value(view, row, k + c));
}

template <class Four, class F>
HNSCORE_DEVICE bool for_own_fours(const View& x, const char* row, const View& t, const char* column, F f) {
    if (!lies_in_fours<Four>(x, row) || !lies_in_fours<Four>(t, column)) return false;
    const int size = Four::kBytes / kChains;
#pragma unroll 4
    for (int64_t k = kChains * (lane() % kGroupLanes); k < x.dim; k += kChains * kGroupLanes) {
        double a[kChains], b[kChains];
        Four::get(row + size * k, a);
        Four::get(column + size * k, b);
        for (int c = 0; c < kChains; ++c) f(c, a[c], b[c]);
    }
    return true;
}

template <class F>
HNSCORE_DEVICE void for_own_pairs(const View& x, const char* row, const View& t, const char* column, F f) {
    if (x.dtype == t.dtype) {
        if (x.dtype == DType::f32 && for_own_fours<FourFloats>(x, row, t, column, f)) return;
        if (x.dtype == DType::f16 && for_own_fours<FourShort<from_half>>(x, row, t, column, f)) return;
        if (x.dtype == DType::bf16 && for_own_fours<FourShort<from_bf16>>(x, row, t, column, f)) return;
    }
    for (int64_t k = kChains * (lane() % kGroupLanes); k < x.dim; k += kChains * kGroupLanes)
        for (int c = 0; c < kChains; ++c)
            if (k + c < x.dim) f(c, load_value(x, row, k + c), load_value(t, column, k + c));
}

HNSCORE_DEVICE double add_group(double value) {
    for (int mask = 1; mask < kGroupLanes; mask *= 2) value += shfl_xor(value, mask);
    return value;
}

// All lanes of a warp call the following together; a group without a pair passes `wanted` = false.

// Plain float64: off by at most (dim + 24) 2^-53 |x| |t|. Every lane of the group gets it.
HNSCORE_DEVICE double plain_dot(const View& x, const char* row, const View& t, const char* column, bool wanted) {
    double chain[kChains] = {};
    if (wanted)
        for_own_pairs(x, row, t, column, [&](int c, double a, double b) { chain[c] = std::fma(a, b, chain[c]); });
    return add_group((chain[0] + chain[1]) + (chain[2] + chain[3]));
}

// What core/exact.h does on the CPU: the sum as hi + lo with a bound on what is missing; where that cannot be rounded
// surely, the first lane of the group forms the whole sum in `wide`, one group after the other.
HNSCORE_DEVICE double exact_dot(const View& x, const char* row, const View& t, const char* column, bool wanted,
                                int64_t* wide) {
    double hi = 0, lo = 0, magnitude = 0;
    const auto add = [&](double value) {
        const double sum = hi + value, back = sum - hi;
        const double error = (hi - (sum - back)) + (value - back);
        hi = sum;
        lo += error;
        magnitude += std::fabs(error);
    };
    if (wanted) {
        const bool rounded = !fits_float32(x.dtype) || !fits_float32(t.dtype);
        for_own_pairs(x, row, t, column, [&](int, double a, double b) {
            const double product = a * b;
            add(product);
            if (!rounded) return;
            const double error = std::fma(a, b, -product);
            lo += error;
            magnitude += std::fabs(error);
            if (a != 0 && b != 0 && std::fabs(product) < 0x1p-960) magnitude = HUGE_VAL;  // its error is lost
        });
    }
    for (int mask = 1; mask < kGroupLanes; mask *= 2) {
        const double other_hi = shfl_xor(hi, mask), other_lo = shfl_xor(lo, mask);
        const double other_magnitude = shfl_xor(magnitude, mask);
        lo += other_lo;
        magnitude += other_magnitude;
        add(other_hi);  // the error of a sum is that of the sum the other way round: the same bits in both lanes
    }
    double value = 0;
    const bool sure = !wanted || rounds_surely(hi, lo, magnitude, x.dim, value);
    if (ballot(!sure) == 0) return value;
    for (int g = 0; g < kGroups; ++g) {
        if (lane() == g * kGroupLanes && !sure) {
            WideSum sum(wide);
            for (int64_t k = 0; k < x.dim; ++k) sum.add_product(load_value(x, row, k), load_value(t, column, k));
            value = sum.round();
        }
        sync_warp();
    }
    return shfl(value, lane() / kGroupLanes * kGroupLanes);
}

}  // namespace hnscore::gpu

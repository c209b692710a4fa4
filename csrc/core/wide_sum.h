// A sum of products of float64 numbers without any rounding, and its one rounding at the end.
//
// Fixed point, least significant limb first. Bit 0 has weight 2^-2148 (the square of the smallest subnormal); the
// largest product is below 2^2048, and 2^40 of them fit. Limbs hold 32 bits each in an int64, so that 2^30 additions
// need no carry.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/both.h"

namespace hnscore {

class WideSum {
  public:
    static constexpr int kLowestExponent = -2148;
    static constexpr int kLimbs = (2048 + 2148 + 40) / 32 + 3;

    // limb: kLimbs words, made zero here.
    HNSCORE_BOTH explicit WideSum(int64_t* limb) : limb_(limb) {
        for (int i = 0; i < kLimbs; ++i) limb_[i] = 0;
    }

    HNSCORE_BOTH void add_product(double a, double b) {
        int ea, eb;
        const double ma = std::frexp(a, &ea), mb = std::frexp(b, &eb);
        if (ma == 0 || mb == 0) return;
        const auto ia = static_cast<int64_t>(std::ldexp(ma, 53)), ib = static_cast<int64_t>(std::ldexp(mb, 53));
        const bool negative = (ia < 0) != (ib < 0);
        auto product = static_cast<unsigned __int128>(ia < 0 ? -ia : ia) * static_cast<uint64_t>(ib < 0 ? -ib : ib);
        // A product of subnormals has trailing zero bits below the lowest weight; shift them out.
        int position = ea + eb - 106 - kLowestExponent;
        if (position < 0) {
            product >>= -position;
            position = 0;
        }
        const int shift = position % 32;
        for (int i = position / 32; product != 0; ++i) {
            // The low 32 bits after the shift; the first step takes fewer than 32 bits of the product.
            const int taken = i == position / 32 ? 32 - shift : 32;
            const auto bits = static_cast<int64_t>(static_cast<uint64_t>(product) & ((uint64_t{1} << taken) - 1));
            const int64_t part = i == position / 32 ? bits << shift : bits;
            limb_[i] += negative ? -part : part;
            product >>= taken;
        }
        if (++added_ % kCarryEvery == 0) carry();
    }

    HNSCORE_BOTH double round() {
        carry();
        const bool negative = limb_[kLimbs - 1] < 0;
        if (negative) {
            for (int i = 0; i < kLimbs; ++i) limb_[i] = -limb_[i];
            carry();
        }
        int top = kLimbs - 1;
        while (top >= 0 && limb_[top] == 0) --top;
        if (top < 0) return 0.0;
        // 64 leading bits and a sticky bit, then one rounding: ldexp rounds once, also into the subnormals.
        int width = 0;
        while (width < 32 && limb_[top] >> width != 0) ++width;
        const int lowest = top * 32 + width - 64;  // weight of bit 0 of `lead`
        unsigned __int128 window = 0;
        for (int i = top; i >= 0 && i > top - 4; --i)
            window |= static_cast<unsigned __int128>(static_cast<uint64_t>(limb_[i])) << (32 * (3 - (top - i)));
        const int drop = 96 + width - 64;  // `window` starts at limb top - 3
        const auto lead = static_cast<uint64_t>(window >> drop);
        bool sticky = (window & ((static_cast<unsigned __int128>(1) << drop) - 1)) != 0;
        for (int i = top - 4; i >= 0 && !sticky; --i) sticky = limb_[i] != 0;
        const double value = round_to_double(lead, sticky, lowest + kLowestExponent);
        return negative ? -value : value;
    }

  private:
    static constexpr int64_t kCarryEvery = int64_t{1} << 30;

    HNSCORE_BOTH void carry() {
        for (int i = 0; i + 1 < kLimbs; ++i) {
            const int64_t up = limb_[i] >> 32;  // floor: what stays is in [0, 2^32)
            limb_[i] -= up * (int64_t{1} << 32);
            limb_[i + 1] += up;
        }
    }

    // lead * 2^exponent with a sticky bit below, to nearest even; lead has its top bit set.
    static HNSCORE_BOTH double round_to_double(uint64_t lead, bool sticky, int exponent) {
        int drop = 11;  // 64 - 53
        const int subnormal = -1074 - exponent;
        if (subnormal > drop) drop = subnormal;
        if (drop > 64) return 0.0;
        uint64_t kept, rest, half;
        if (drop == 64) {
            kept = 0, rest = lead, half = uint64_t{1} << 63;
        } else {
            kept = lead >> drop;
            rest = lead & ((uint64_t{1} << drop) - 1);
            half = uint64_t{1} << (drop - 1);
        }
        if (rest > half || (rest == half && (sticky || (kept & 1)))) ++kept;
        return std::ldexp(static_cast<double>(kept), exponent + drop);
    }

    int64_t* limb_;
    int64_t added_ = 0;
};

// Whether every number within the bound on what `hi + lo` misses of a sum of n products rounds to one float64, and
// which (Ziv's test). magnitude: the sum of the |rounding errors| that lo collected.
HNSCORE_BOTH bool rounds_surely(double hi, double lo, double magnitude, int64_t n, double& value) {
    const double error = magnitude == 0 ? 0 : static_cast<double>(n + 16) * 0x1p-51 * magnitude + 0x1p-1070;
    value = hi + (lo - error);
    return value == hi + (lo + error) && std::isfinite(value);
}

}  // namespace hnscore

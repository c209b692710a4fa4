#include "core/exact.h"

#include <cmath>
#include <cstring>

namespace hnscore {
namespace {

// Fixed point, least significant limb first. Bit 0 has weight 2^-2148 (the square of the smallest subnormal);
// the largest product is below 2^2048, and 2^40 of them fit. Limbs hold 32 bits each in an int64, so that
// 2^30 additions need no carry.
constexpr int kLowestExponent = -2148;
constexpr int kLimbs = (2048 + 2148 + 40) / 32 + 3;
constexpr int64_t kCarryEvery = int64_t{1} << 30;

struct Accumulator {
    int64_t limb[kLimbs] = {};

    void add_product(double a, double b) {
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
            limb[i] += negative ? -part : part;
            product >>= taken;
        }
    }

    void carry() {
        for (int i = 0; i + 1 < kLimbs; ++i) {
            const int64_t up = limb[i] >> 32;  // floor: what stays is in [0, 2^32)
            limb[i] -= up * (int64_t{1} << 32);
            limb[i + 1] += up;
        }
    }

    double round() {
        carry();
        const bool negative = limb[kLimbs - 1] < 0;
        if (negative) {
            for (int64_t& l : limb) l = -l;
            carry();
        }
        int top = kLimbs - 1;
        while (top >= 0 && limb[top] == 0) --top;
        if (top < 0) return 0.0;
        // 64 leading bits and a sticky bit, then one rounding: ldexp rounds once, also into the subnormals.
        const int width = 64 - __builtin_clzll(static_cast<uint64_t>(limb[top]));
        const int lowest = top * 32 + width - 64;  // weight of bit 0 of `lead`
        unsigned __int128 window = 0;
        for (int i = top; i >= 0 && i > top - 4; --i)
            window |= static_cast<unsigned __int128>(static_cast<uint64_t>(limb[i])) << (32 * (3 - (top - i)));
        const int drop = 96 + width - 64;  // `window` starts at limb top - 3
        auto lead = static_cast<uint64_t>(window >> drop);
        bool sticky = (window & ((static_cast<unsigned __int128>(1) << drop) - 1)) != 0;
        for (int i = top - 4; i >= 0 && !sticky; --i) sticky = limb[i] != 0;
        const double value = round_to_double(lead, sticky, lowest + kLowestExponent);
        return negative ? -value : value;
    }

    // lead * 2^exponent with a sticky bit below, to nearest even; lead has its top bit set.
    static double round_to_double(uint64_t lead, bool sticky, int exponent) {
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
};

}  // namespace

double exact_dot_wide(const double* a, const double* b, int64_t n) {
    Accumulator sum;
    for (int64_t k = 0; k < n; ++k) {
        sum.add_product(a[k], b[k]);
        if ((k + 1) % kCarryEvery == 0) sum.carry();
    }
    return sum.round();
}

double round_pair_sum(const PairSum& sum, const double* a, const double* b, int64_t n) {
    const double error = sum.magnitude == 0 ? 0 : static_cast<double>(n + 16) * 0x1p-51 * sum.magnitude + 0x1p-1070;
    const double low = sum.hi + (sum.lo - error), high = sum.hi + (sum.lo + error);
    if (low == high && std::isfinite(low)) return low;
    return exact_dot_wide(a, b, n);
}

}  // namespace hnscore

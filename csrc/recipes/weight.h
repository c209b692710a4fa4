// What a counting pair weighs: w = g(gap). `exact` is the formula, in float64; `term` the same thing on a vector of
// pairs in the units of cpu/target/target.h, where a sum over columns still lacks the factor m_i^-kRowPower of its row,
// applied once at the end. kUsesGap: a threshold of -inf makes it infinite. kOnGpu: a GPU has a kernel for it.
#pragma once

#include <cmath>

#include "core/both.h"
#include "recipes/functions.h"

namespace hnscore {

// Float32 has no weight beyond its range.
HNSCORE_BOTH double within_float32(double w) { return std::isinf(static_cast<float>(w)) ? HUGE_VAL : w; }

// What a weight may use of a vector of pairs; rate and half_dim are constants of the call.
template <class S>
struct Pairs {
    typename S::F32 gap, acc, scale, factor, shift, variance, square, rate, half_dim, square_error;
};

// count: 1
struct Count {
    static constexpr int kRowPower = 0;
    static constexpr bool kUsesGap = false, kOnGpu = true;
    static HNSCORE_BOTH double exact(double, double, double) { return 1; }
    template <class S>
    static HNSCORE_BOTH typename S::F32 term(const Pairs<S>&) {
        return S::set1(1.0f);
    }
};

// hinge: gap
struct Hinge {
    static constexpr int kRowPower = 1;
    static constexpr bool kUsesGap = true, kOnGpu = true;
    static HNSCORE_BOTH double exact(double, double gap, double) { return within_float32(gap); }
    template <class S>
    static HNSCORE_BOTH typename S::F32 term(const Pairs<S>& p) {
        return S::mul(p.gap, p.scale);
    }
};

// squared_hinge: gap^2
struct SquaredHinge {
    static constexpr int kRowPower = 2;
    static constexpr bool kUsesGap = true, kOnGpu = true;
    static HNSCORE_BOTH double exact(double, double gap, double) { return within_float32(gap * gap); }
    template <class S>
    static HNSCORE_BOTH typename S::F32 term(const Pairs<S>& p) {
        const typename S::F32 g = S::mul(p.gap, p.scale);
        return S::mul(g, g);
    }
};

// similarity: s, of both signs, which may cancel
struct Similarity {
    static constexpr int kRowPower = 1;
    static constexpr bool kUsesGap = false, kOnGpu = true;
    static HNSCORE_BOTH double exact(double s, double, double) { return s; }
    template <class S>
    static HNSCORE_BOTH typename S::F32 term(const Pairs<S>& p) {
        return S::mul(p.acc, p.scale);
    }
};

// exp: exp(gap / temperature), factor = 1 / (m_i * temperature)
struct Exp {
    static constexpr int kRowPower = 0;
    static constexpr bool kUsesGap = true, kOnGpu = true;
    static HNSCORE_BOTH double exact(double, double gap, double temperature) {
        return within_float32(std::exp(gap / temperature));
    }
    template <class S>
    static HNSCORE_BOTH typename S::F32 term(const Pairs<S>& p) {
        return exp_of<S>(S::mul(S::mul(p.gap, p.scale), p.factor));
    }
};

// kernel: exp((s - 1) / temperature) + shift_j, factor = 1 / (m_i * temperature), rate = 1 / temperature
struct Kernel {
    static constexpr int kRowPower = 0;
    static constexpr bool kUsesGap = false, kOnGpu = false;
    static HNSCORE_BOTH double exact(double s, double, double temperature) {
        return within_float32(std::exp((s - 1) / temperature));
    }
    template <class S>
    static HNSCORE_BOTH typename S::F32 term(const Pairs<S>& p) {
        const typename S::F32 minus_rate = S::sub(S::zero(), p.rate);
        const typename S::F32 x = S::fma(S::mul(p.acc, p.scale), p.factor, minus_rate);
        return S::add(exp_of<S>(S::min(x, S::zero())), p.shift);  // s is at most 1, but for rounding
    }
};

// overlap, the logarithm of a weight: shift_j - half_dim ln v - rate |x_i - t_j|^2 / v, v = variance_i + variance_j,
// |x_i - t_j|^2 = square_i + square_j - 2 s, factor = 1 / m_i
struct Overlap {
    static constexpr int kRowPower = 0;
    static constexpr bool kUsesGap = false, kOnGpu = false;
    static HNSCORE_BOTH double exact(double, double, double) { return NAN; }  // needs variances: RowBlock has it
    // What the logarithm may be off by: so much, and so much of itself.
    static constexpr float kError = 0x1p-10f, kRelativeError = 0x1p-15f;

    template <class S>
    static HNSCORE_BOTH typename S::F32 distance2(const Pairs<S>& p) {
        const typename S::F32 s = S::mul(S::mul(p.acc, p.scale), p.factor);
        return S::max(S::sub(p.square, S::add(s, s)), S::zero());
    }
    template <class S>
    static HNSCORE_BOTH typename S::F32 term(const Pairs<S>& p) {
        const typename S::F32 e = S::fnma(p.half_dim, log_of<S>(p.variance), p.shift);
        return S::sub(e, S::div(S::mul(p.rate, distance2(p)), p.variance));
    }
    // Pairs so near to each other, for how far they are from the origin, that the difference has lost too much.
    template <class S>
    static inline typename S::Mask cancels(const Pairs<S>& p) {
        const typename S::F32 error = S::mul(p.square, p.square_error);
        return S::mask_and(S::gt(S::mul(p.rate, error), S::mul(p.variance, S::set1(kError))),
                           S::gt(error, S::mul(distance2(p), S::set1(kRelativeError))));
    }
};

}  // namespace hnscore

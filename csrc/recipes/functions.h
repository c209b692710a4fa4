// Functions of vectors that the stages need, to about 1 unit in the last place of float32. Not inlined on a CPU: their
// constants would take registers from the accumulators all through the product loop. A GPU has its own
// (cuda/epilogue/lane.h).
#pragma once

#ifdef __CUDACC__
#define HNSCORE_CALLED
#else
#define HNSCORE_CALLED __attribute__((noinline))
#endif

namespace hnscore {

// e^x; +inf above the float32 range, 0 far below it.
// x = n ln 2 + r with |r| <= ln(2) / 2, e^r by its Taylor polynomial of degree 7 (remainder below 2^-26).
template <class S>
HNSCORE_CALLED typename S::F32 exp_of(typename S::F32 x) {
    x = S::max(S::min(x, S::set1(89.0f)), S::set1(-104.0f));
    const typename S::F32 n = S::round(S::mul(x, S::set1(1.44269504088896341f)));
    // ln 2 in two parts; n * high is exact for |n| < 2^9.
    typename S::F32 r = S::fnma(n, S::set1(0.693145751953125f), x);
    r = S::fnma(n, S::set1(1.42860682030941723e-6f), r);
    constexpr float kTaylor[] = {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f};
    typename S::F32 p = S::set1(1.0f / 5040);
    for (const float c : kTaylor) p = S::fma(p, r, S::set1(c));
    // 2^n in two factors, so that n = 128 and n = -149 are reached.
    const typename S::F32 half = S::round(S::mul(n, S::set1(0.5f)));
    return S::mul(S::mul(p, S::pow2(half)), S::pow2(S::sub(n, half)));
}

// ln x of positive normal x.
// x = 2^n m with m in [1 / sqrt(2), sqrt(2)); ln m = 2 artanh(u), u = (m - 1) / (m + 1), |u| < 0.172, by its series to
// u^9 (remainder below 2^-27 of u).
template <class S>
HNSCORE_CALLED typename S::F32 log_of(typename S::F32 x) {
    const typename S::F32 n = S::exponent(S::mul(x, S::set1(1.41421356f)));
    const typename S::F32 m = S::mul(x, S::pow2(S::sub(S::zero(), n))), one = S::set1(1.0f);
    const typename S::F32 u = S::div(S::sub(m, one), S::add(m, one)), v = S::mul(u, u);
    constexpr float kSeries[] = {2.0f / 7, 2.0f / 5, 2.0f / 3};
    typename S::F32 p = S::set1(2.0f / 9);
    for (const float c : kSeries) p = S::fma(p, v, S::set1(c));
    const typename S::F32 ln_m = S::fma(S::mul(p, v), u, S::add(u, u));
    return S::fma(n, S::set1(0.693145751953125f), S::fma(n, S::set1(1.42860682030941723e-6f), ln_m));
}

}  // namespace hnscore

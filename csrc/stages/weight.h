// What a counting pair weighs: w = g(gap). The formula first, then the same thing on a vector of gap' and acc in the
// units of core/problem.h. A sum over columns still lacks the factor m_i^-kRowPower of its row, applied once at the
// end.
#pragma once

namespace hnscore {

// count: 1
struct Count {
    static constexpr int kRowPower = 0;
    template <class S>
    static inline typename S::F32 term(typename S::F32, typename S::F32, typename S::F32, typename S::F32) {
        return S::set1(1.0f);
    }
};

// hinge: gap
struct Hinge {
    static constexpr int kRowPower = 1;
    template <class S>
    static inline typename S::F32 term(typename S::F32 gap, typename S::F32, typename S::F32 scale, typename S::F32) {
        return S::mul(gap, scale);
    }
};

// squared_hinge: gap^2
struct SquaredHinge {
    static constexpr int kRowPower = 2;
    template <class S>
    static inline typename S::F32 term(typename S::F32 gap, typename S::F32, typename S::F32 scale, typename S::F32) {
        const typename S::F32 g = S::mul(gap, scale);
        return S::mul(g, g);
    }
};

// similarity: s
struct Similarity {
    static constexpr int kRowPower = 1;
    template <class S>
    static inline typename S::F32 term(typename S::F32, typename S::F32 acc, typename S::F32 scale, typename S::F32) {
        return S::mul(acc, scale);
    }
};

// exp: exp(gap / temperature), factor = 1 / (m_i * temperature)
struct Exp {
    static constexpr int kRowPower = 0;
    template <class S>
    static inline typename S::F32 term(typename S::F32 gap, typename S::F32, typename S::F32 scale,
                                       typename S::F32 factor) {
        return exp_of_positive<S>(S::mul(S::mul(gap, scale), factor));
    }

    // e^x for x >= 0 to about 1 unit in the last place; +inf above the float32 range.
    // x = n ln 2 + r with |r| <= ln(2) / 2, e^r by its Taylor polynomial of degree 7 (remainder below 2^-26).
    // Not inlined: its constants would take registers from the accumulators all through the product loop.
    template <class S>
    static __attribute__((noinline)) typename S::F32 exp_of_positive(typename S::F32 x) {
        x = S::min(x, S::set1(89.0f));
        const typename S::F32 n = S::round(S::mul(x, S::set1(1.44269504088896341f)));
        // ln 2 in two parts; n * high is exact for |n| < 2^9.
        typename S::F32 r = S::fnma(n, S::set1(0.693145751953125f), x);
        r = S::fnma(n, S::set1(1.42860682030941723e-6f), r);
        constexpr float kTaylor[] = {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f};
        typename S::F32 p = S::set1(1.0f / 5040);
        for (const float c : kTaylor) p = S::fma(p, r, S::set1(c));
        // 2^n in two factors, so that n = 128 reaches the largest finite values.
        const typename S::F32 half = S::round(S::mul(n, S::set1(0.5f)));
        return S::mul(S::mul(p, S::pow2(half)), S::pow2(S::sub(n, half)));
    }
};

}  // namespace hnscore

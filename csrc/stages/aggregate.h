// How the weights of one row over all columns become its score, as the tile sees it: what is added to the row's state
// on the registers, and which pairs are handed on to be decided one by one (cpu/engine.cpp).
#pragma once

#include <type_traits>

#include "stages/threshold.h"
#include "stages/weight.h"

namespace hnscore {

// sum:  h_i = sum_j w_ij over the pairs inside; pairs that are neither inside nor outside are handed on.
template <class Weight>
struct Sum {
    static constexpr bool kSums = true;

    template <class S, class Decision>
    static inline typename S::Mask handed_on(const Decision& d, typename S::F32, typename S::F32, typename S::F32,
                                             typename S::F32) {
        return S::mask_not(S::mask_or(d.inside, d.outside));
    }
    template <class S>
    static inline typename S::F32 term(typename S::F32 gap, typename S::F32 acc, typename S::F32 scale,
                                       typename S::F32 factor) {
        return Weight::template term<S>(gap, acc, scale, factor);
    }
};

// top:  the k largest keys of the row. A pair is handed on while the upper bound of its key exceeds the row's state,
// the k-th largest lower bound so far. Keys are in row units: (gap' or acc) * col_scale = m_i * (gap or s).
struct Gap;
template <class Key>
struct Top {
    static constexpr bool kSums = false;

    template <class S, class Decision>
    static inline typename S::Mask handed_on(const Decision& d, typename S::F32 acc, typename S::F32 band,
                                             typename S::F32 scale, typename S::F32 least) {
        const typename S::F32 key = S::mul(S::add(kIsGap ? d.gap : acc, band), scale);
        // "not below" rather than "above": NaN must survive.
        return S::mask_andnot(S::mask_not(S::gt(least, key)), d.outside);
    }
    static constexpr bool kIsGap = std::is_same_v<Key, Gap>;
};

}  // namespace hnscore

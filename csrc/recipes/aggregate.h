// How the weights of one row over all columns become its score, as the tile sees it: what is added to the row's state
// on the registers, and which pairs are handed on to be decided one by one (cpu/engine.cpp).
#pragma once

#include <type_traits>

#include "recipes/threshold.h"
#include "recipes/weight.h"

namespace hnscore {

enum class Aggregate { sum, log_sum, top, list };

// sum:  h_i = sum_j w_ij over the pairs inside; pairs that are neither inside nor outside are handed on.
template <class Weight>
struct Sum {
    using Term = Weight;
    static constexpr Aggregate kKind = Aggregate::sum;
    static constexpr int kStates = 1;  // vectors of state a row

    template <class S, class Decision>
    static inline typename S::Mask handed_on(const Decision& d, typename S::F32, typename S::F32, typename S::F32) {
        return d.open;
    }
    template <class S>
    static inline typename S::F32 term(const Pairs<S>& p) {
        return Weight::template term<S>(p);
    }
};

// log_sum:  h_i = ln sum_j exp(e_ij), kept as the largest e of a lane and the sum of exp(e - largest): no e is too
// large or too small. Pairs are handed on as those of a sum, and where the weight says that float32 lost too much.
template <class Weight>
struct LogSum : Sum<Weight> {
    static constexpr Aggregate kKind = Aggregate::log_sum;
    static constexpr int kStates = 2;
    static constexpr float kNone = -0x1p100f;  // the largest of no e

    template <class S>
    static inline typename S::Mask cancels(const Pairs<S>& p) {
        return Weight::template cancels<S>(p);
    }

    // `largest` and `sum` take in the e of the pairs inside.
    template <class S>
    static inline void update(typename S::Mask inside, typename S::F32 e, typename S::F32& largest,
                              typename S::F32& sum) {
        e = S::add(S::masked(inside, e), S::masked(S::mask_not(inside), S::set1(kNone)));
        const typename S::F32 now = S::max(e, largest);
        const typename S::F32 kept = S::mul(sum, exp_of<S>(S::sub(largest, now)));
        sum = S::add(kept, S::masked(inside, exp_of<S>(S::sub(e, now))));
        largest = now;
    }
};

// top:  the k largest keys of the row. A pair is handed on while the upper bound of its key exceeds the row's state,
// the k-th largest lower bound so far. Keys are in row units: (gap' or acc) * col_scale = m_i * (gap or s).
struct Gap : Hinge {};
template <class Key>
struct Top {
    using Term = Key;
    static constexpr Aggregate kKind = Aggregate::top;
    static constexpr int kStates = 0;

    template <class S, class Decision>
    static inline typename S::Mask handed_on(const Decision& d, typename S::F32 acc, typename S::F32 scale,
                                             typename S::F32 least) {
        const typename S::F32 key = S::mul(S::add(kIsGap ? d.gap : acc, d.band), scale);
        // "not below" rather than "above": NaN must survive.
        return S::mask_and(S::not_gt(least, key), S::mask_or(d.inside, d.open));
    }
    static constexpr bool kIsGap = std::is_same_v<Key, Gap>;
};

// list:  the pairs themselves. As top, with a state that stays: the key that every pair of the row must exceed.
template <class Key>
struct List : Top<Key> {
    static constexpr Aggregate kKind = Aggregate::list;
};

}  // namespace hnscore

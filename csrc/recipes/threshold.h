// Which pairs count. Every rule (margin, reference, maximum similarity, groups, own image) ends as numbers per row
// and per column before a kernel starts; no kernel knows which rule made them.
//
//     gap'  = acc - row_scale_i * tau'_j        the pair is inside where gap' >  band, outside where gap' < -band
//             (both factors in two float32 parts: a threshold rounded once would cost as much as all products)
//     over' = acc - row_limit_i * col_limit_j   the pair is inside where over' < -band, outside where over' > band
//     rank' = acc - row_scale_i * least'_j      as gap', where only the most similar rows of a column count
//     group_i = group_j or owner_i = owner_j    the pair is outside
//     order_i >= order_j                        the pair is outside: of (i, j) and (j, i) one counts
//
// with band = row_band_i * col_band_j.
// What is neither inside nor outside (NaN included) is decided outside the kernel, exactly or in float64.
#pragma once

#include <cstdint>

#include "core/both.h"

namespace hnscore {

// What the threshold of a text takes off its reference: a similarity difference, and a share of the reference itself.
struct Margins {
    double margin, relative;
};
constexpr int kMargins = sizeof(Margins) / sizeof(double);

// A pair counts where its similarity is above this.
HNSCORE_BOTH double threshold_of(double reference, const Margins& m) {
    const double tau = reference - m.margin;
    return m.relative == 0 ? tau : tau - m.relative * (reference < 0 ? -reference : reference);
}

// Simd supplies the vector operations; kFiltered changes the generated code, hence a template parameter.
template <class Simd, bool kFiltered>
struct Threshold {
    using F32 = typename Simd::F32;
    using Mask = typename Simd::Mask;

    struct Columns {
        F32 tau, tau_low, band, limit, least;
        const int32_t *group, *owner, *order;
    };
    struct Row {
        F32 scale, scale_low, band, limit;
        int32_t group, owner, order;
    };
    struct Decision {
        F32 gap, band;
        Mask inside, open;  // open: neither inside nor outside
    };

    static inline __attribute__((always_inline)) Decision decide(F32 acc, const Row& row, const Columns& col) {
        F32 gap = Simd::fnma(row.scale, col.tau, acc);
        gap = Simd::fnma(row.scale_low, col.tau, Simd::fnma(row.scale, col.tau_low, gap));
        const F32 band = Simd::mul(row.band, col.band);
        Decision d{gap, band, Simd::gt(gap, band), Simd::not_gt(Simd::abs(gap), band)};
        if constexpr (kFiltered) {
            const F32 minus_band = Simd::sub(Simd::zero(), band);
            const F32 over = Simd::fnma(row.limit, col.limit, acc), rank = Simd::fnma(row.scale, col.least, acc);
            const Mask same = Simd::mask_or(Simd::equal(col.group, row.group), Simd::equal(col.owner, row.owner));
            const Mask excluded = Simd::mask_or(same, Simd::mask_not(Simd::above(col.order, row.order)));
            const Mask within = Simd::mask_and(Simd::gt(minus_band, over), Simd::gt(rank, band));
            const Mask beyond = Simd::mask_or(Simd::gt(over, band), Simd::gt(minus_band, rank));
            const Mask possible = Simd::mask_andnot(Simd::mask_or(d.inside, d.open), Simd::mask_or(beyond, excluded));
            d.inside = Simd::mask_andnot(Simd::mask_and(d.inside, within), excluded);
            d.open = Simd::mask_andnot(possible, d.inside);
        }
        return d;
    }
};

}  // namespace hnscore

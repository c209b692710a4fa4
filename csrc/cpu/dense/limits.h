// Thresholds on their way to the kernels: the rules of a call as one padded array per number, in the units of
// cpu/target/target.h.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/engine.h"

namespace hnscore {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
// Stands for an infinite threshold: times any plain row it is beyond every acc, and times 0 it is not NaN.
constexpr float kNever = 0x1p100f;

// The half-width of the band around a threshold within which a tile cannot tell, in units of acc, is a number of the
// row times one of the column. What a product may be off by, with x' = a X + r, |r| = e, and a, X', r' of the column,
//
//     rounding 2^-24 |x||t|  +  |x| e' + e |t|  +  what digits leave out: 2^8 (middle low' + low middle') + low low'
//
// is at most the product of two norms (Cauchy-Schwarz), with weights that make both proportional on typical rows. A
// threshold above 2 |x||t| is further from any acc than the band. Without precision "exact" the rounded acc itself is
// what is compared, and only its threshold is rounded.
constexpr double kRestWeight = 7 * kUnit, kDigitWeight = 0x1p-14;

inline double band_of_row(const Packed& p, double norm) {
    const double middle = p.middle + p.low / 512, n = norm + p.rest;
    const double digits = (middle * middle + p.low * p.low) / (kDigitWeight * kDigitWeight);
    const double rest = p.rest / kRestWeight;
    return std::sqrt(n * n + rest * rest + digits);
}
inline double band_of_column(const Packed& p, double norm, double units) {
    const double middle = p.middle + p.low / 512, n = 1.02 * units * kUnit * norm + p.rest;
    const double digits = (middle * middle + p.low * p.low) * std::pow(256 * kDigitWeight, 2);
    const double rest = p.rest > 0 ? kRestWeight * norm : 0;
    return std::sqrt(n * n + rest * rest + digits) * (1 + 0x1p-20);
}

// The units of rounding above.
inline double band_units(const Format& format) {
    return format.precision == Precision::exact ? format.operand().rounding(format.dim) : 4;
}
// What of a row's packing the band must cover.
inline Packed band_packing(const Format& format, const Packed& packed) {
    return format.precision == Precision::exact ? packed : Packed{.unit = packed.unit};
}

// Of digits: two of these whose product exceeds 1 need the lower digits' products for values within the contract. Left
// out, those are a random number of so many units, and the largest of many three or four times that:
//     units = 2^8 sqrt(2 dim) digit^2 unit_i unit_j / (2^-24 |x||t|),    unit = max|x| / 8355711
// Where a row has few different magnitudes they are no random number: they add up as they do in its product with
// itself,
//     units = 2^9 cross / 2^-24
inline double spread_of(const Packed& p, int64_t dim) {
    constexpr double kDigit = 74, kTop = 8355711;  // a digit's root mean square; the largest number
    constexpr double kMostUnits = 0.75, kMostInStep = 1.5;
    const double units = 256 * std::sqrt(2.0 * static_cast<double>(dim)) * kDigit * kDigit / (kTop * kTop * kUnit);
    const double random = p.spread * p.spread * units / kMostUnits, in_step = 512 * p.cross / (kUnit * kMostInStep);
    return std::sqrt(std::max(random, in_step));
}

// Whether float32 holds what a recipe makes of a gap to this threshold: a gap to -inf is infinite.
inline bool gap_fits(Recipe recipe, double tau) {
    if (kUsesGap[recipe] && tau == -HUGE_VAL) return false;
    return std::abs(tau) < most_tau(recipe) || std::isinf(tau);
}

// The rules as the kernels want them: one padded array per number, in the units of cpu/target/target.h.
struct ColumnLimits {
    explicit ColumnLimits(const Job& job)
        : columns(*job.columns),
          filtered(job.rules.filtered() || job.terms.col_weight),
          tau(padded()),
          tau_low(padded()),
          band(padded()),
          scale(padded()),
          limit(padded()),
          least(padded()),
          weight(padded()),
          shift(padded()),
          variance(padded()),
          square(padded()),
          spread(padded()),
          group(padded()),
          owner(padded()),
          order(padded()) {
        const Rules& rules = job.rules;
        const double units = band_units(columns.format);
        for (int64_t j = 0; j < padded(); ++j) {
            tau[j] = kNever;
            limit[j] = kInfinity;
            tau_low[j] = band[j] = scale[j] = spread[j] = 0;
            least[j] = -kInfinity;
            weight[j] = variance[j] = square[j] = 1;
            shift[j] = 0;
            group[j] = owner[j] = -2;
            order[j] = 0;
            if (j >= columns.rows) continue;
            const Packed packed = columns.packing_of(j);
            const double m = columns.packed_m(j), norm = columns.scaled_norm(j);
            const double rule_tau = rules.tau ? rules.tau[j] : -HUGE_VAL;
            const double rule_least = rules.kth_value ? rules.kth_value[j] : -HUGE_VAL;
            const double largest = columns.format.cosine ? kNever : std::ldexp(1.0, kPlainExponent);
            const auto plain = [&](double x) { return std::isinf(x) || std::abs(x * m) < largest; };
            const bool serves = columns.plain[static_cast<size_t>(j)] && plain(1) && plain(rule_tau) &&
                                plain(rule_least) && (!rules.tau || gap_fits(job.recipe, rule_tau));
            const double width = band_of_column(band_packing(columns.format, packed), norm, units) / packed.unit;
            spread[j] = static_cast<float>(spread_of(packed, columns.dim));
            band[j] = serves ? static_cast<float>(width * (1 + 0x1p-20)) : kInfinity;
            const double scaled = std::clamp<double>(rule_tau * m, -kNever, kNever);
            tau[j] = static_cast<float>(scaled);
            tau_low[j] = static_cast<float>(scaled - tau[j]);
            least[j] = static_cast<float>(rule_least * m);
            scale[j] = static_cast<float>(1 / m);
            double most = rules.max_similarity && !rules.max_similarity_of_rows ? rules.max_similarity[j] : HUGE_VAL;
            if (rules.skip_value) most = std::min(most, rules.skip_value[j]);
            limit[j] = static_cast<float>(rules.max_similarity_of_rows ? m : most * m);
            if (rules.col_group) group[j] = rules.col_group[j];
            if (rules.col_owner) owner[j] = rules.col_owner[j];
            if (rules.triangle) order[j] = static_cast<int32_t>(rules.first_column + j);
            if (job.terms.col_weight) weight[j] = static_cast<float>(job.terms.col_weight[j]);
            if (job.terms.col_shift) shift[j] = static_cast<float>(job.terms.col_shift[j]);
            if (job.terms.col_variance) variance[j] = static_cast<float>(job.terms.col_variance[j]);
            if (!columns.format.cosine)
                square[j] = static_cast<float>(std::pow(columns.norm[static_cast<size_t>(j)], 2));
        }
    }
    // Those of the columns from `at` on.
    void put(TileBlock& b, int64_t at) const {
        b.tau = tau.data() + at;
        b.tau_low = tau_low.data() + at;
        b.col_band = band.data() + at;
        b.col_spread = spread.data() + at;
        b.col_scale = scale.data() + at;
        b.col_limit = limit.data() + at;
        b.col_least = least.data() + at;
        b.col_group = group.data() + at;
        b.col_owner = owner.data() + at;
        b.col_order = order.data() + at;
        b.col_weight = weight.data() + at;
        b.col_shift = shift.data() + at;
        b.col_variance = variance.data() + at;
        b.col_square = square.data() + at;
    }
    int64_t padded() const { return columns.panels * columns.format.kernels().cols; }

    const Columns& columns;
    const bool filtered;
    Buffer<float> tau, tau_low, band, scale, limit, least, weight, shift, variance, square, spread;
    Buffer<int32_t> group, owner, order;
};

// The same for the passes of the cascade (cpu/target/screen.h). Filters are left to the exact decision; of the rules
// for the most similar images the k-th value is a threshold too.
struct ScreenLimits {
    explicit ScreenLimits(const Job& job)
        : codes(job.columns->codes),
          top(is_top(job.recipe) || (job.lists && job.rules.floor)),
          keys_are_gaps(job.recipe == top_gap),
          two_sided(job.recipe == count && !job.rules.filtered() && !job.terms.col_weight && !job.terms.col_shift &&
                    job.columns->plan->many && job.columns->format.target->screen.by_column),
          tau(codes.padded),
          above(two_sided ? codes.padded : 0),
          unit(top ? codes.padded : 0),
          base(top ? codes.padded : 0) {
        if (codes.pitch) gates.resize(static_cast<size_t>(codes.padded));
        const Columns& columns = *job.columns;
        const Rules& rules = job.rules;
        for (int64_t j = 0; j < codes.padded; ++j) {
            double threshold = HUGE_VAL, m = 1;  // of the padding
            if (j < columns.rows) {
                const auto at = static_cast<size_t>(j);
                m = columns.m[at];
                threshold = rules.tau ? rules.tau[j] : -HUGE_VAL;
                if (rules.kth_value) threshold = std::max(threshold, rules.kth_value[j]);
                if (!columns.plain[at]) threshold = -HUGE_VAL;  // decided one by one
            }
            tau[j] = below(threshold * m / codes.first.unit[j]);
            if (two_sided) above[j] = threshold == -HUGE_VAL ? kInfinity : -below(-threshold * m / codes.first.unit[j]);
            if (top) {
                unit[j] = static_cast<float>(m / codes.first.unit[j]);
                base[j] = keys_are_gaps ? tau[j] : 0;
            }
            if (!codes.pitch || j >= columns.rows) continue;
            const ColumnCodes::Pass& pass = codes.second;
            gates[static_cast<size_t>(j)] = {pass.init[j], pass.bound[j], below(threshold * m / pass.unit[j]),
                                             static_cast<float>(m / pass.unit[j])};
        }
    }
    // Surely below x, also after the kernels' rounding.
    static float below(double x) { return static_cast<float>(std::isinf(x) ? x : x - std::abs(x) * 0x1p-21); }

    const ColumnCodes& codes;
    const bool top, keys_are_gaps, two_sided;
    Buffer<float> tau, above, unit, base;
    std::vector<Gate> gates;
};

}  // namespace hnscore

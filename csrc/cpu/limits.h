// Thresholds on their way to the kernels: the rules of a call as one padded array per number, in the units of
// core/problem.h.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/engine.h"

namespace hnscore {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
// Stands for an infinite threshold: times any plain row it is beyond every acc, and times 0 it is not NaN.
constexpr float kNever = 0x1p100f;

// Half-width of the band around a threshold, in units of acc, within which float32 cannot tell.
// |x'| |t'| < 4. The rounded threshold: at most 16 units, since a threshold above 8 is further from any acc than the
// band. Without `exact` the rounded acc itself is what is compared.
inline float band_width(Precision precision, int64_t dim) {
    const double threshold = 16 * kUnit;
    if (precision != Precision::exact) return static_cast<float>(threshold);
    return static_cast<float>(1.02 * (4 * chain_units(dim) * kUnit + threshold));
}

// Whether float32 holds what a recipe makes of a gap to this threshold: a gap to -inf is infinite, and 16 squares of
// m_i gap are added up, m_i being at most 2^kPlainExponent.
inline bool gap_fits(Recipe recipe, double tau) {
    if (recipe == squared_hinge) return std::abs(tau) < std::ldexp(1.0, kPlainExponent) || tau == HUGE_VAL;
    return tau > -HUGE_VAL || !(recipe == hinge || recipe == exp || recipe == top_gap);
}

// The rules as the kernels want them: one padded array per number, in the units of core/problem.h.
struct ColumnLimits {
    explicit ColumnLimits(const Job& job)
        : columns(*job.columns),
          filtered(job.rules.filtered() || job.col_weight),
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
          group(padded()),
          owner(padded()),
          order(padded()) {
        const Rules& rules = job.rules;
        const float width = band_width(columns.format.precision, columns.dim);
        for (int64_t j = 0; j < padded(); ++j) {
            tau[j] = kNever;
            limit[j] = kInfinity;
            tau_low[j] = band[j] = scale[j] = 0;
            least[j] = -kInfinity;
            weight[j] = variance[j] = square[j] = 1;
            shift[j] = 0;
            group[j] = owner[j] = -2;
            order[j] = 0;
            if (j >= columns.rows) continue;
            const double m = columns.m[static_cast<size_t>(j)];
            const double rule_tau = rules.tau ? rules.tau[j] : -HUGE_VAL;
            const double rule_least = rules.kth_value ? rules.kth_value[j] : -HUGE_VAL;
            const double largest = columns.format.cosine ? kNever : std::ldexp(1.0, kPlainExponent);
            const auto plain = [&](double x) { return std::isinf(x) || std::abs(x * m) < largest; };
            const bool serves = columns.plain[static_cast<size_t>(j)] && plain(rule_tau) && plain(rule_least) &&
                                (!rules.tau || gap_fits(job.recipe, rule_tau));
            band[j] = serves ? width : kInfinity;
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
            if (job.col_weight) weight[j] = static_cast<float>(job.col_weight[j]);
            if (job.col_shift) shift[j] = static_cast<float>(job.col_shift[j]);
            if (job.col_variance) variance[j] = static_cast<float>(job.col_variance[j]);
            if (!columns.format.cosine)
                square[j] = static_cast<float>(std::pow(columns.norm[static_cast<size_t>(j)], 2));
        }
    }
    int64_t padded() const { return columns.panels * columns.format.kernels().cols; }

    const Columns& columns;
    const bool filtered;
    Buffer<float> tau, tau_low, band, scale, limit, least, weight, shift, variance, square;
    Buffer<int32_t> group, owner, order;
};

// The same for the passes of the cascade (core/screen.h). Filters are left to the exact decision; of the rules for the
// most similar images the k-th value is a threshold too.
struct ScreenLimits {
    explicit ScreenLimits(const Job& job)
        : codes(job.columns->codes),
          top(is_top(job.recipe)),
          keys_are_gaps(job.recipe == top_gap),
          tau(codes.padded),
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
    const bool top, keys_are_gaps;
    Buffer<float> tau, unit, base;
    std::vector<Gate> gates;
};

}  // namespace hnscore

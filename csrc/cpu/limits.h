// Thresholds on their way to the kernels: the rules of a call as one padded array per number, in the units of
// core/problem.h.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/engine.h"

namespace hnscore {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr double kUnit = 0x1p-24;  // relative rounding error of float32
// Stands for an infinite threshold: times any plain row it is beyond every acc, and times 0 it is not NaN.
constexpr float kNever = 0x1p100f;

// Half-width of the band around a threshold, in units of acc, within which float32 cannot tell.
// |x'| |t'| < 4. Products and their sums in three short chains: (chunk + group + groups + 1) units of 4, one more
// each for the rounding of x' and t' of float64 rows and for a target without fused multiply-adds. The rounded
// threshold: at most 16 units, since a threshold above 8 is further from any acc than the band. Without `exact` the
// rounded acc itself is what is compared.
inline float band_width(Precision precision, int64_t dim) {
    const double threshold = 16 * kUnit;
    if (precision != Precision::exact) return static_cast<float>(threshold);
    const int64_t n = (dim + kChunk - 1) / kChunk, group = chunks_per_group(dim);
    const auto chain = static_cast<double>(std::min<int64_t>(dim, kChunk) + group + (n + group - 1) / group + 4);
    return static_cast<float>(1.02 * (4 * chain * kUnit + threshold));
}

// The rules as the kernels want them: one padded array per number, in the units of core/problem.h.
struct ColumnLimits {
    explicit ColumnLimits(const Job& job)
        : columns(*job.columns),
          filtered(job.rules.max_similarity || job.rules.row_group || job.rules.row_owner || job.rules.kth_value),
          tau(padded()),
          tau_low(padded()),
          band(padded()),
          scale(padded()),
          limit(padded()),
          least(padded()),
          group(padded()),
          owner(padded()) {
        const Rules& rules = job.rules;
        const float width = band_width(columns.format.precision, columns.dim);
        for (int64_t j = 0; j < padded(); ++j) {
            tau[j] = kNever;
            limit[j] = kInfinity;
            tau_low[j] = band[j] = scale[j] = 0;
            least[j] = -kInfinity;
            group[j] = owner[j] = -2;
            if (j >= columns.rows) continue;
            const double m = columns.m[static_cast<size_t>(j)];
            const double rule_tau = rules.tau ? rules.tau[j] : -HUGE_VAL;
            const double rule_least = rules.kth_value ? rules.kth_value[j] : -HUGE_VAL;
            const double largest = columns.format.cosine ? kNever : std::ldexp(1.0, kPlainExponent);
            const auto plain = [&](double x) { return std::isinf(x) || std::abs(x * m) < largest; };
            band[j] = columns.plain[static_cast<size_t>(j)] && plain(rule_tau) && plain(rule_least) ? width : kInfinity;
            const double scaled = std::clamp<double>(rule_tau * m, -kNever, kNever);
            tau[j] = static_cast<float>(scaled);
            tau_low[j] = static_cast<float>(scaled - tau[j]);
            least[j] = static_cast<float>(rule_least * m);
            scale[j] = static_cast<float>(1 / m);
            if (rules.max_similarity)
                limit[j] = static_cast<float>(rules.max_similarity_of_rows ? m : rules.max_similarity[j] * m);
            if (rules.col_group) group[j] = rules.col_group[j];
            if (rules.col_owner) owner[j] = rules.col_owner[j];
        }
    }
    int64_t padded() const { return columns.panels * columns.format.kernels().cols; }

    const Columns& columns;
    const bool filtered;
    Buffer<float> tau, tau_low, band, scale, limit, least;
    Buffer<int32_t> group, owner;
};

}  // namespace hnscore

// Rows made ready for the tiles, by groups of 8 lanes a row, and columns by a thread each.
#pragma once

#include <cmath>

#include "core/cosine.h"
#include "cuda/rows/exact.h"
#include "recipes/threshold.h"

namespace hnscore::gpu {

// Packed norms are in [2^k, 2^(k + 1)).
constexpr int norm_exponent(Operand o) { return o == Operand::half ? 10 : 0; }

// A bad row and its kind in one word; the least of a side is that of its first bad row.
HNSCORE_BOTH uint64_t bad_row_report(int64_t row, int kind) { return static_cast<uint64_t>(row) << 3 | kind; }

struct Packing {
    Rows rows;
    int64_t first, count;  // these rows of the call
    bool cosine;
    bool decided_by_values;    // pairs are decided by the caller's values, else by the packed ones
    Operand operand, rounded;  // stored as operand, after rounding to `rounded`
    void* packed;              // [row][pitch bytes]; null: the tiles read the caller's memory
    int64_t pitch;
    RowFacts* facts;
    float* largest_error;  // kept up to date, for columns; else null
    uint64_t* report;
    int64_t* wide;
};

constexpr int kPackThreads = 128;
constexpr int kWarpLanes = 32;

HNSCORE_DEVICE double two_to(int exponent) { return std::ldexp(1.0, exponent); }

struct RowNorm {
    double norm;  // |x| 2^-exponent, in [1, 2)
    int exponent;
    BadRow bad;
};

// As Format::facts does on the CPU.
HNSCORE_DEVICE RowNorm norm_of(const View& view, const char* row, bool wanted, bool cosine) {
    constexpr double kLeastNorm2 = 0x1p-960;
    double sum = 0, largest = 0;
    bool finite = true;
    const auto each = [&](auto f) {
        if (wanted) for_own_values(view, row, f);
    };
    each([&](int64_t, double x) {
        sum = std::fma(x, x, sum);
        largest = std::fmax(largest, std::fabs(x));
        finite = finite && std::isfinite(x);
    });
    sum = add_group(sum);
    for (int mask = 1; mask < kGroupLanes; mask *= 2) {
        largest = std::fmax(largest, shfl_xor(largest, mask));
        finite = shfl_xor(static_cast<int>(finite), mask) != 0 && finite;
    }
    RowNorm r{0, 0, kGood};
    int shift = 0;
    const bool normal = sum >= kLeastNorm2 && (cosine ? std::isfinite(sum) : sum <= 1 / kLeastNorm2);
    if (!finite)
        r.bad = kNonFinite;
    else if (!normal && cosine)
        r.bad = largest == 0 ? kZero : kOutOfRange;
    const bool rescale = !normal && r.bad == kGood && largest > 0;
    if (ballot(rescale && wanted) != 0) {
        double scaled = 0;
        if (rescale) {
            shift = std::ilogb(largest);
            each([&](int64_t, double x) {
                const double y = std::ldexp(x, -shift);
                scaled = std::fma(y, y, scaled);
            });
        }
        scaled = add_group(scaled);
        if (rescale) sum = scaled;
    }
    if (r.bad == kGood && largest > 0) {
        int e;
        std::frexp(std::sqrt(sum), &e);
        r.exponent = e - 1 + shift;
        r.norm = std::ldexp(std::sqrt(sum), 1 - e);
    }
    return r;
}

HNSCORE_DEVICE double store_packed(const Packing& p, char* row, int64_t k, double value) {
    auto single = static_cast<float>(value);
    uint16_t bits = 0;
    if (p.rounded == Operand::half) single = from_half(bits = to_half(single));
    if (p.rounded == Operand::bf16) single = from_bf16(bits = to_bf16(single));
    if (p.operand == Operand::single)
        reinterpret_cast<float*>(row)[k] = single;
    else
        reinterpret_cast<uint16_t*>(row)[k] = bits;
    return static_cast<double>(single);
}

HNSCORE_KERNEL(kPackThreads) pack_kernel(const HNSCORE_GRID_CONSTANT Packing p) {
    constexpr int kWarps = kPackThreads / kWarpLanes;
    constexpr float kUp = 1 + 0x1p-20f;
    const int64_t warp = static_cast<int64_t>(block()) * kWarps + thread() / kWarpLanes;
    int64_t* wide = p.wide + warp * WideSum::kLimbs;
    const View& view = p.rows.view;
    const bool leader = lane() % kGroupLanes == 0;
    for (int64_t first = warp * kGroups; first < p.count; first += static_cast<int64_t>(blocks()) * kWarps * kGroups) {
        const int64_t i = first + lane() / kGroupLanes;
        bool wanted = i < p.count;
        const char* row = row_address(p.rows, p.first + (wanted ? i : first));
        RowNorm norm = norm_of(view, row, wanted, p.cosine);
        const bool direct = p.packed == nullptr, plain = std::abs(norm.exponent) <= kPlainExponent;
        if (norm.bad == kGood && !plain && !p.decided_by_values && (direct || !p.cosine)) norm.bad = kOutOfRange;
        const int exponent = direct ? 0 : norm.exponent - norm_exponent(p.rounded);  // x' = x 2^-exponent
        double root = two_to(0), norm2 = 1;
        if (p.cosine && p.decided_by_values) {
            norm2 = exact_dot(view, row, view, row, wanted && norm.bad == kGood, wide);
            root = std::sqrt(norm2);
        } else if (p.cosine) {
            root = std::ldexp(norm.norm, norm.exponent);
        }
        double lost = 0;
        if (wanted && !direct) {
            char* out = static_cast<char*>(p.packed) + i * p.pitch;
            // Two factors, since 2^-exponent alone need not be a float64.
            const double half = two_to(-exponent / 2), rest = two_to(-exponent - -exponent / 2);
            for_own_values(view, row, [&](int64_t k, double x) {
                const double value = norm.bad == kGood ? x * half * rest : 0;
                const double error = value - store_packed(p, out, k, value);
                lost = std::fma(error, error, lost);
            });
            const int64_t room = p.pitch / operand_bytes(p.operand);
            for (int64_t k = view.dim + lane() % kGroupLanes; k < room; k += kGroupLanes) store_packed(p, out, k, 0);
        }
        lost = add_group(lost);
        if (!wanted || !leader) continue;
        const double packed_norm = std::ldexp(norm.norm, norm.exponent - exponent);
        const double m = p.cosine ? std::ldexp(root, -exponent) : two_to(-exponent);
        RowFacts f;
        f.root = p.decided_by_values ? root : m;
        f.norm2 = norm2;
        f.m = static_cast<float>(m);
        f.m_low = static_cast<float>(m - static_cast<double>(f.m));
        f.norm = static_cast<float>(packed_norm) * kUp;
        f.error = packed_norm > 0 ? static_cast<float>(std::sqrt(lost) / packed_norm) * kUp : 0;
        if (!(plain || (p.cosine && !direct))) {
            f.norm = HUGE_VALF;
            f.m = f.m_low = NAN;
        }
        if (norm.bad != kGood) {
            f.norm = f.m = f.m_low = NAN;
            f.error = 0;
            atomic_min(p.report, bad_row_report(p.rows.pick ? p.rows.pick[p.first + i] : p.first + i, norm.bad));
        }
        if (p.largest_error) atomic_max(p.largest_error, f.error);
        p.facts[i] = f;
    }
}

struct References {
    const double* values;
    int64_t count;
    Margins margins;
    double* tau;
    uint64_t* report;
};

HNSCORE_KERNEL(kPackThreads) threshold_kernel(const HNSCORE_GRID_CONSTANT References p) {
    const int64_t j = static_cast<int64_t>(block()) * kPackThreads + thread();
    if (j >= p.count) return;
    const bool good = std::isfinite(p.values[j]);
    p.tau[j] = good ? threshold_of(p.values[j], p.margins) : NAN;
    if (!good) atomic_min(p.report, bad_row_report(j, kNonFinite));
}

struct ColumnRules {
    const RowFacts* rows;
    int64_t count, padded;
    const double* tau;  // NaN: a bad reference; null: every pair counts
    const double* kth_value;
    bool keep_m;   // for a top recipe
    bool decided;  // there is a band, and pairs within it are decided
    double most;   // a larger |tau_j| would make a weight in row units overflow
    const double* max_similarity;
    ColumnFacts* facts;
    float* limit;  // max_similarity_j m_j
    int* bad;      // set where a column is bad, its threshold or its limit NaN; may be null
};

// One threshold in the units of the tiles. A NaN hands every pair of the column on.
HNSCORE_DEVICE ColumnFacts column_facts(const RowFacts& row, double tau, const ColumnRules& p) {
    if (std::isnan(row.norm)) return {kNever, 0, 0, 0};
    const double m = static_cast<double>(row.m) + static_cast<double>(row.m_low), scaled = tau * m;
    const bool beyond = p.tau && (std::fabs(scaled) >= 0x1p60 || std::fabs(tau) >= p.most);
    const bool one_by_one = std::isinf(row.norm) || (p.decided && beyond);
    ColumnFacts f;
    f.tau = one_by_one ? NAN : static_cast<float>(std::fmin(std::fmax(scaled, -0x1p100), 0x1p100));
    f.second = p.keep_m ? row.m
                        : (std::isinf(tau) || one_by_one ? 0 : static_cast<float>(scaled - static_cast<double>(f.tau)));
    f.scale = static_cast<float>(1 / m);
    f.norm = row.norm;
    return f;
}

HNSCORE_KERNEL(kPackThreads) columns_kernel(const HNSCORE_GRID_CONSTANT ColumnRules p) {
    const int64_t j = static_cast<int64_t>(block()) * kPackThreads + thread();
    if (j >= p.padded) return;
    if (p.limit) p.limit[j] = kNever;
    if (j >= p.count) {
        p.facts[j] = {kNever, 0, 0, 0};
        return;
    }
    if (p.limit && p.max_similarity[j] < HUGE_VAL)  // NaN where float32 cannot serve: handed on
        p.limit[j] = static_cast<float>(p.max_similarity[j]) * p.rows[j].m;
    const double tau = p.tau ? p.tau[j] : -HUGE_VAL;
    if (p.bad &&
        (std::isnan(p.rows[j].norm) || std::isnan(tau) || (p.max_similarity && std::isnan(p.max_similarity[j]))))
        *p.bad = 1;
    const double least = p.kth_value ? std::fmax(tau, p.kth_value[j]) : tau;
    p.facts[j] = column_facts(p.rows[j], least, p);
}

struct PairProblem {
    Rows a, b;
    bool cosine;
    double* out;
    uint64_t *report_a, *report_b;
    int64_t* wide;
};

// out[j]: the similarity of row j of a with row j of b, as the contract defines it.
HNSCORE_KERNEL(kPackThreads) pair_kernel(const HNSCORE_GRID_CONSTANT PairProblem p) {
    constexpr int kWarps = kPackThreads / kWarpLanes;
    const int64_t warp = static_cast<int64_t>(block()) * kWarps + thread() / kWarpLanes;
    int64_t* wide = p.wide + warp * WideSum::kLimbs;
    const int64_t step = static_cast<int64_t>(blocks()) * kWarps * kGroups;
    for (int64_t first = warp * kGroups; first < p.b.count; first += step) {
        const int64_t j = first + lane() / kGroupLanes;
        const bool wanted = j < p.b.count;
        const char *row_a = row_address(p.a, wanted ? j : first), *row_b = row_address(p.b, wanted ? j : first);
        const RowNorm norm_a = norm_of(p.a.view, row_a, wanted, p.cosine);
        const RowNorm norm_b = norm_of(p.b.view, row_b, wanted, p.cosine);
        const bool good = wanted && norm_a.bad == kGood && norm_b.bad == kGood;
        double s = exact_dot(p.a.view, row_a, p.b.view, row_b, good, wide);
        if (p.cosine) {
            const double norm2_a = exact_dot(p.a.view, row_a, p.a.view, row_a, good, wide);
            s = cosine_of(s, norm2_a, exact_dot(p.b.view, row_b, p.b.view, row_b, good, wide));
        }
        if (!wanted || lane() % kGroupLanes != 0) continue;
        p.out[j] = good ? s : NAN;
        const auto index = [&](const Rows& rows) { return rows.pick ? rows.pick[j] : j; };
        if (norm_a.bad != kGood) atomic_min(p.report_a, bad_row_report(index(p.a), norm_a.bad));
        if (norm_b.bad != kGood) atomic_min(p.report_b, bad_row_report(index(p.b), norm_b.bad));
    }
}

}  // namespace hnscore::gpu

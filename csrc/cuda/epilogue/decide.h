// Pairs that a tile hands on: found as bits in the registers of its warp, decided by the warp at once, in float64 from
// the values that decide. Nothing is listed and nothing is added atomically, so that one order of decisions, and of
// additions to a row, holds whatever runs beside.
#pragma once

#include "core/cosine.h"
#include "cuda/rows/exact.h"
#include "recipes/recipe.h"

namespace hnscore::gpu {

// A warp's share of a tile: acc[r][n][e] is the pair of these rows and columns of it (the layout of mma m16n8).
HNSCORE_DEVICE int own_row(int r, int e) { return 16 * r + lane() / 4 + 8 * (e / 2); }
HNSCORE_DEVICE int own_column(int n, int e) { return 8 * n + 2 * (lane() % 4) + e % 2; }

HNSCORE_DEVICE int lowest_bit(uint32_t bits) {
#ifdef __CUDA_ARCH__
    return __ffs(static_cast<int>(bits)) - 1;
#else
    return __builtin_ctz(bits);
#endif
}

// Whether labels or owners exclude a pair, real or not.
HNSCORE_DEVICE bool is_excluded(const Problem& p, int64_t row, int64_t column) {
    return row >= p.n_rows || column >= p.n_cols || p.excluded(p.first_row + row, p.first_col + column);
}

// Whether the rules beside the threshold leave a pair, from a similarity known within `error`.
HNSCORE_DEVICE Verdict verdict_of(const Problem& p, int64_t row, int64_t column, double s, double error) {
    if (row >= p.n_rows || column >= p.n_cols) return Verdict::excluded;
    return p.verdict(p.first_row + row, p.first_col + column, s, error);
}

struct Decision {
    bool counts;
    double s, gap;
};

// The contract's own words for one pair a group. `is_key`: the similarity itself is wanted to the last bit.
HNSCORE_DEVICE_CALL Decision decide(const Problem& p, int64_t row, int64_t column, bool wanted, bool is_key) {
    const RowFacts &x = p.row_facts[wanted ? row : 0], &t = p.col_rows[wanted ? column : 0];
    wanted = wanted && !std::isnan(x.norm) && !std::isnan(t.norm);
    const char* values = row_address(p.rows, p.first_value_row + (wanted ? row : 0));
    const char* others = row_address(p.cols, p.first_value_col + (wanted ? column : 0));
    const double roots = x.root * t.root;
    const double tau = wanted && p.tau ? p.tau[column] : -HUGE_VAL;
    double s = plain_dot(p.rows.view, values, p.cols.view, others, wanted) / roots;
    double error = static_cast<double>(p.rows.view.dim + 24) * 0x1p-52;
    if (!p.cosine)  // norms are packed ones
        error = error * (static_cast<double>(x.norm) / static_cast<double>(x.m)) *
                    (static_cast<double>(t.norm) / static_cast<double>(t.m)) +
                static_cast<double>(p.rows.view.dim) * 0x1p-1074;
    // A group without a pair brings columns that do not exist: it must not look at their rules.
    const bool sure = !wanted || (std::fabs(s - tau) > error && verdict_of(p, row, column, s, error) != Verdict::open);
    const bool open = p.exact && wanted && (is_key || !sure);
    if (ballot(open) != 0) {
        int64_t* wide = p.wide + (static_cast<int64_t>(block()) * kMostWarps + thread() / 32) * WideSum::kLimbs;
        const double dot = exact_dot(p.rows.view, values, p.cols.view, others, wanted, wide);
        if (open) s = p.cosine ? cosine_of(dot, x.norm2, t.norm2) : dot;
    }
    return {wanted && s - tau > 0 && verdict_of(p, row, column, s, 0) == Verdict::counts, s, s - tau};
}

// The pairs of a warp's share of a tile that are to be decided.
template <int RM, int NB>
class Hits {
  public:
    HNSCORE_DEVICE void add(int r, int n, int e, bool hit) {
        if (hit) words_[r * (NB / 8) + n / 8] |= 1u << (n % 8 * 4 + e);
    }
    // The same where r and n are not known to the compiler.
    HNSCORE_DEVICE void add_at(int r, int n, int e, bool hit) {
        const int at = r * (NB / 8) + n / 8;
#pragma unroll
        for (int w = 0; w < kWords; ++w)
            if (hit && w == at) words_[w] |= 1u << (n % 8 * 4 + e);
    }
    HNSCORE_DEVICE bool has(int r, int n, int e) const {
        return (words_[r * (NB / 8) + n / 8] >> (n % 8 * 4 + e) & 1) != 0;
    }
    // Drops those of rows that do not count: bit 2 r + h of `rows` is for row own_row(r, 2 h).
    HNSCORE_DEVICE void keep(uint32_t rows) {
        for (int r = 0; r < RM; ++r) {
            const uint32_t both = rows >> (2 * r);
            for (int w = 0; w < NB / 8; ++w)
                words_[r * (NB / 8) + w] &= (both & 1 ? 0x33333333u : 0u) | (both & 2 ? 0xccccccccu : 0u);
        }
    }
    // Calls take(row, column, wanted) with one pair for each group of 8 lanes, in the order of word, lane, bit: for any
    // one row an order that does not depend on other rows. All lanes of the warp call together.
    template <class Take>
    HNSCORE_DEVICE void each(Take take) const {
#pragma unroll 1
        for (int w = 0; w < kWords; ++w) {
            uint32_t mine = 0;
#pragma unroll
            for (int v = 0; v < kWords; ++v) mine = v == w ? words_[v] : mine;
            while (ballot(mine != 0) != 0) {
                int source = -1, bit = 0;
                for (int g = 0; g < kGroups; ++g) {
                    const uint32_t lanes = ballot(mine != 0);
                    if (lanes == 0) break;
                    const int from = lowest_bit(lanes), first = lowest_bit(shfl(mine, from));
                    if (lane() == from) mine &= mine - 1;
                    if (lane() / kGroupLanes == g) source = from, bit = first;
                }
                const int r = w / (NB / 8), n = w % (NB / 8) * 8 + bit / 4, e = bit % 4;
                take(16 * r + source / 4 + 8 * (e / 2), 8 * n + 2 * (source % 4) + e % 2, source >= 0);
            }
        }
    }

  private:
    static constexpr int kWords = RM * NB / 8;
    uint32_t words_[kWords] = {};
};

}  // namespace hnscore::gpu

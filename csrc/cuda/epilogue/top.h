#pragma once

#include "cuda/epilogue/held.h"

namespace hnscore::gpu {

// No entry: after every column.
constexpr int64_t kNoColumn = INT64_MAX;

// Whether entry a comes before entry b in a ranking: larger key, ties to the lower column.
HNSCORE_DEVICE bool ranks_before(const TopEntry& a, const TopEntry& b) {
    return a.key > b.key || (a.key == b.key && a.column < b.column);
}

template <int RM, int NB>
class Top {
  public:
    struct Scratch {
        double worst[16 * RM];  // of each row's list the entry that ranks last: its key
        int slot[16 * RM];      // and place
        float least[16 * RM];   // what a key must reach, in row units: m_i times the worst, or a little less
    };

    HNSCORE_DEVICE Top(const Problem& p, int64_t part, int64_t first_row, Scratch& scratch)
        : p_(p), part_(part), first_row_(first_row), own_(p, first_row), scratch_(scratch) {
        for (int i = 0; i < 16 * RM; ++i) {
            if (first_row + i < p.n_rows) find_worst(i);
            if (first_row + i >= p.n_rows && lane() == 0) scratch_.least[i] = HUGE_VALF;
        }
        sync_warp();
        seeded_ = p.filtered() || p.k > kSeeds;
    }

    HNSCORE_DEVICE void tile(float (&acc)[RM][NB][4], int64_t first_column) {
        float least[RM][2];
        for (int r = 0; r < RM; ++r)
            for (int h = 0; h < 2; ++h) least[r][h] = scratch_.least[own_row(r, 2 * h)];
        if (!seeded_) seed(acc, first_column, least);
        seeded_ = true;
        Hits<RM, NB> hits;
#pragma unroll
        for (int n = 0; n < NB; ++n) {
            const OwnColumns columns(p_, first_column, n);
#pragma unroll
            for (int r = 0; r < RM; ++r)
#pragma unroll
                for (int e = 0; e < 4; ++e) {
                    const ColumnFacts& c = columns.c[e % 2];
                    const float most = std::fma(own_.band[r][e / 2], c.norm, acc[r][n][e]);
                    const float gap = std::fma(-own_.m[r][e / 2], c.tau, most);
                    const float key = std::fma(-least[r][e / 2], c.second, p_.keys_are_gaps ? gap : most);
                    hits.add(r, n, e, !(gap < 0) && !(key < 0));  // NaN survives
                }
        }
        hits.keep(own_.real);
        hits.each([&](int row, int column, bool wanted) {
            const int64_t j = first_column + column;
            const Decision d = decide(p_, first_row_ + row, j, wanted && j < p_.n_cols, true);
            for (int g = 0; g < kGroups; ++g) {
                const int leader = g * kGroupLanes;
                if (shfl(static_cast<int>(d.counts), leader) == 0) continue;
                insert(shfl(row, leader),
                       {shfl(p_.keys_are_gaps ? d.gap : d.s, leader), shfl(p_.first_col + j, leader)});
            }
        });
    }

    HNSCORE_DEVICE void flush(int64_t) {}

  private:
    static constexpr int kSeeds = 16;  // a lane's four quarters of the columns, in the four lanes that share a row

    HNSCORE_DEVICE TopEntry* list(int row) const { return p_.top + (part_ * p_.n_rows + first_row_ + row) * p_.k; }

    // All lanes of the warp call the following together.
    HNSCORE_DEVICE void find_worst(int row) {
        const TopEntry* entries = list(row);
        TopEntry worst{HUGE_VAL, -1};
        int slot = 0;
        const auto take_worse = [&](const TopEntry& entry, int at) {
            // Of empty places the first: then lanes agree.
            if (ranks_before(worst, entry) || (!ranks_before(entry, worst) && at < slot)) worst = entry, slot = at;
        };
        for (int i = lane(); i < p_.k; i += 32) take_worse(entries[i], i);
        for (int mask = 1; mask < 32; mask *= 2)
            take_worse({shfl_xor(worst.key, mask), shfl_xor(worst.column, mask)}, shfl_xor(slot, mask));
        if (lane() == 0) {
            const RowFacts f = p_.row_facts[first_row_ + row];
            const double least = worst.key * (static_cast<double>(f.m) + static_cast<double>(f.m_low));
            scratch_.worst[row] = worst.key;
            scratch_.slot[row] = slot;
            scratch_.least[row] = static_cast<float>(least - std::fabs(least) * 0x1p-20 - 0x1p-120);
        }
        sync_warp();
    }
    HNSCORE_DEVICE void insert(int row, const TopEntry& entry) {
        TopEntry& last = list(row)[scratch_.slot[row]];
        const double worst = scratch_.worst[row];
        if (!(entry.key >= worst) || (entry.key == worst && !ranks_before(entry, last))) return;
        sync_warp();  // all have seen what is replaced now
        if (lane() == 0) last = entry;
        sync_warp();
        find_worst(row);
    }

    // A first bound from the tile itself: 16 disjoint parts of a row's pairs each hold one that surely counts and whose
    // key is surely at least the part's maximum of lower bounds, so at least 16 keys reach the least of these.
    HNSCORE_DEVICE void seed(const float (&acc)[RM][NB][4], int64_t first_column, float (&least)[RM][2]) {
#pragma unroll
        for (int r = 0; r < RM; ++r) {
            float bound[2] = {p_.k == 1 ? -HUGE_VALF : HUGE_VALF, p_.k == 1 ? -HUGE_VALF : HUGE_VALF};
#pragma unroll
            for (int quarter = 0; quarter < 4; ++quarter) {
                float largest[2] = {-HUGE_VALF, -HUGE_VALF};
#pragma unroll
                for (int i = 0; i < NB / 4; ++i) {
                    const int n = quarter * NB / 4 + i;
                    const OwnColumns columns(p_, first_column, n);
#pragma unroll
                    for (int e = 0; e < 4; ++e) {
                        const ColumnFacts& c = columns.c[e % 2];
                        const float low = std::fma(-own_.band[r][e / 2], c.norm, acc[r][n][e]);
                        const float gap = std::fma(-own_.m[r][e / 2], c.tau, low);
                        const float key = (p_.keys_are_gaps ? gap : low) * c.scale;
                        if (gap > 0 && key > largest[e / 2]) largest[e / 2] = key;
                    }
                }
                for (int h = 0; h < 2; ++h)
                    bound[h] = p_.k == 1 ? Lane::max(bound[h], largest[h]) : Lane::min(bound[h], largest[h]);
            }
            for (int h = 0; h < 2; ++h) {
                float b = bound[h];
                for (int mask = 1; mask < 4; mask *= 2) {
                    const float o = shfl_xor(b, mask);
                    b = p_.k == 1 ? Lane::max(b, o) : Lane::min(b, o);
                }
                least[r][h] = Lane::max(least[r][h], b - std::fabs(b) * 0x1p-20f - 0x1p-120f);
            }
        }
    }

    const Problem& p_;
    const int64_t part_, first_row_;
    const OwnRows<RM> own_;
    Scratch& scratch_;
    bool seeded_;
};

}  // namespace hnscore::gpu

// What becomes of the products of a tile, while they are still on the registers of its warp.
//
//   Sum<Weight>     w = g(gap) of the pairs inside, added to the row. With a band: pairs too close to call are decided.
//   Screen          every pair that may be inside is decided, and weighs what its decided similarity says.
//   Top             pairs that may be among the k largest of their row are decided and join its list.
//
// Budget: the tensor cores of an SM take depth / 2048 cycles for a pair, in which its four schedulers issue depth / 16
// instructions for a lane: 32 a pair at depth 512. They need 5 to 10 (tests/test_cuda_compile.py counts them), beside
// half a load of the column's facts.
#pragma once

#include "cuda/epilogue/decide.h"
#include "cuda/epilogue/lane.h"
#include "recipes/weight.h"

namespace hnscore::gpu {

// What an epilogue knows of the rows of its lane.
template <int RM>
struct OwnRows {
    float m[RM][2], m_low[RM][2], band[RM][2];
    uint32_t real;  // bit 2 r + h

    HNSCORE_DEVICE OwnRows(const Problem& p, int64_t first_row) : real(0) {
        const float lost = *p.col_error;
        for (int r = 0; r < RM; ++r)
            for (int h = 0; h < 2; ++h) {
                const int64_t row = first_row + own_row(r, 2 * h);
                RowFacts f{};
                f.m = f.norm = NAN;
                if (row < p.n_rows) f = p.row_facts[row];
                m[r][h] = f.m;
                m_low[r][h] = f.m_low;
                band[r][h] = f.norm * (f.error + lost + f.error * lost + p.rounding) * (1 + 0x1p-20f);
                if (!std::isnan(f.norm)) real |= 1u << (2 * r + h);
            }
    }
};

// The facts of the two adjacent columns of slice n that a lane has.
struct OwnColumns {
    ColumnFacts c[2];
    HNSCORE_DEVICE OwnColumns(const Problem& p, int64_t first_column, int n) {
        // One address for all slices of a tile, the slice an offset in the instruction.
        const ColumnFacts* at = p.col_facts + (first_column + own_column(0, 0)) + 8 * n;
        for (int e = 0; e < 2; ++e) {
            const Float4 f = load4(reinterpret_cast<const Float4*>(at + e));
            c[e] = {f.x, f.y, f.z, f.w};
        }
    }
};

// The sums of the rows of one warp over decided pairs.
template <int RM>
struct DecidedSums {
    double sum[16 * RM];

    HNSCORE_DEVICE void clear() {
        for (int i = lane(); i < 16 * RM; i += 32) sum[i] = 0;
        sync_warp();
    }
    // One pair a group, added in the order of the groups.
    HNSCORE_DEVICE void add(int row, double value, bool counts) {
        for (int g = 0; g < kGroups; ++g) {
            const int leader = g * kGroupLanes;
            const double v = shfl(value, leader);
            const int r = shfl(row, leader);
            if (shfl(static_cast<int>(counts), leader) != 0 && lane() == 0) sum[r] += v;
        }
        sync_warp();
    }
};

// Pairs within the band of a warp wait here, some tiles long at most until the end of the chunk: a decision takes as
// long as some steps of products, and holds up the three other warps that multiply with this one. In the order of each
// row's columns, whatever other rows have.
template <int RM>
struct WaitingPairs : DecidedSums<RM> {
    static constexpr int kRoom = 28;
    int64_t first_column;  // that columns are counted from
    int count;
    uint32_t pair[kRoom];  // row << 16 | column
    static_assert(kChunkColumns <= 1 << 16);

    HNSCORE_DEVICE void clear_pairs() {
        if (lane() == 0) count = 0;
        sync_warp();
    }
    // One pair a group.
    HNSCORE_DEVICE void add_pairs(const Problem& p, int64_t first_row, int64_t tile_column, int row, int column,
                                  bool wanted) {
        if (count > kRoom - kGroups) decide_all(p, first_row);
        for (int g = 0; g < kGroups; ++g) {
            const int leader = g * kGroupLanes, i = shfl(row, leader), j = shfl(column, leader);
            if (shfl(static_cast<int>(wanted), leader) == 0 || lane() != 0) continue;
            if (count == 0) first_column = tile_column;
            pair[count++] = static_cast<uint32_t>(i) << 16 | static_cast<uint32_t>(tile_column - first_column + j);
        }
        sync_warp();
    }
    HNSCORE_DEVICE_CALL void decide_all(const Problem& p, int64_t first_row) {
        const int n = count;
        if (n == 0) return;
        for (int first = 0; first < n; first += kGroups) {
            const int at = first + lane() / kGroupLanes;
            const uint32_t x = pair[at < n ? at : 0];
            const int row = static_cast<int>(x >> 16);
            const Decision d = decide(p, first_row + row, first_column + (x & 0xffff), at < n, false);
            this->add(row, weight_of(p.weight, d.s, d.gap, p.temperature), d.counts);
        }
        clear_pairs();
    }
};

// Takes pairs that the rules beside the threshold exclude out of a tile: as acc = -inf they count nowhere. Pairs too
// close to their max_similarity are handed on where there is a band. Not for ranks (Problem::ranked), which Screen
// alone has.
template <bool kBand, int RM, int NB>
HNSCORE_DEVICE void exclude(const Problem& p, const OwnRows<RM>& own, int64_t first_row, int64_t first_column,
                            float (&acc)[RM][NB][4], Hits<RM, NB>& open) {
    if (p.row_group || p.row_owner) {
        Hits<RM, NB> excluded;
#pragma unroll 1
        for (int r = 0; r < RM; ++r)
#pragma unroll 1
            for (int n = 0; n < NB; ++n)
                for (int e = 0; e < 4; ++e)
                    excluded.add_at(r, n, e,
                                    is_excluded(p, first_row + own_row(r, e), first_column + own_column(n, e)));
#pragma unroll
        for (int r = 0; r < RM; ++r)
#pragma unroll
            for (int n = 0; n < NB; ++n)
#pragma unroll
                for (int e = 0; e < 4; ++e)
                    if (excluded.has(r, n, e)) acc[r][n][e] = -HUGE_VALF;
    }
    if (!p.max_similarity) return;
#pragma unroll
    for (int n = 0; n < NB; ++n) {
        const Float2 limit =
            load2(reinterpret_cast<const Float2*>(p.col_limit + (first_column + own_column(0, 0)) + 8 * n));
        const OwnColumns columns(p, first_column, n);
#pragma unroll
        for (int r = 0; r < RM; ++r)
#pragma unroll
            for (int e = 0; e < 4; ++e) {
                const float over = std::fma(-own.m[r][e / 2], e % 2 ? limit.y : limit.x, acc[r][n][e]);
                const float band = kBand ? own.band[r][e / 2] * columns.c[e % 2].norm : 0;
                if (kBand) open.add(r, n, e, !(over < -band) && !(over > band));
                if (!(over < -band)) acc[r][n][e] = -HUGE_VALF;
            }
    }
}

// kBand: acc does not settle which pairs are inside; those within the band are decided.
// kTwoParts: thresholds in two float32 parts, since one rounding of them would cost as much as all products.
template <class Weight, bool kBand, bool kTwoParts, int RM, int NB>
class Sum {
  public:
    using Scratch = WaitingPairs<RM>;

    HNSCORE_DEVICE Sum(const Problem& p, int64_t, int64_t first_row, Scratch& decided)
        : p_(p), first_row_(first_row), own_(p, first_row), decided_(decided) {
        for (int r = 0; r < RM; ++r)
            for (int h = 0; h < 2; ++h) {
                total_[r][h] = 0;
                const double m = static_cast<double>(own_.m[r][h]) + static_cast<double>(own_.m_low[r][h]);
                factor_[r][h] = static_cast<float>(1 / (m * p.temperature));
            }
        if (kBand) decided_.clear();
        if (kBand) decided_.clear_pairs();
    }

    HNSCORE_DEVICE void tile(float (&acc)[RM][NB][4], int64_t first_column) {
        float sum[RM][2] = {};
        Hits<RM, NB> hits;
        if (p_.filtered()) exclude<kBand>(p_, own_, first_row_, first_column, acc, hits);
#pragma unroll
        for (int n = 0; n < NB; ++n) {
            const OwnColumns columns(p_, first_column, n);
#pragma unroll
            for (int r = 0; r < RM; ++r)
#pragma unroll
                for (int e = 0; e < 4; ++e) {
                    const ColumnFacts& c = columns.c[e % 2];
                    const float a = acc[r][n][e], m = own_.m[r][e / 2];
                    float gap = std::fma(-m, c.tau, a);
                    if (kTwoParts) gap -= std::fma(m, c.second, own_.m_low[r][e / 2] * c.tau);
                    bool inside = gap > 0;
                    if (kBand) {
                        const float band = own_.band[r][e / 2];
                        inside = std::fma(-band, c.norm, gap) > 0;
                        hits.add(r, n, e, !inside && !(std::fma(band, c.norm, gap) < 0));
                    }
                    Pairs<Lane> pair{};
                    pair.gap = gap, pair.acc = a, pair.scale = c.scale, pair.factor = factor_[r][e / 2];
                    if (inside) sum[r][e / 2] += Weight::template term<Lane>(pair);
                }
        }
        for (int r = 0; r < RM; ++r)
            for (int h = 0; h < 2; ++h) total_[r][h] += static_cast<double>(sum[r][h]);
        if constexpr (kBand) {
            hits.keep(own_.real);
            hits.each([&](int row, int column, bool wanted) {
                decided_.add_pairs(p_, first_row_, first_column, row, column,
                                   wanted && first_column + column < p_.n_cols);
            });
        }
    }

    HNSCORE_DEVICE void flush(int64_t chunk) {
        if (kBand) decided_.decide_all(p_, first_row_);
        for (int r = 0; r < RM; ++r)
            for (int h = 0; h < 2; ++h) {
                double sum = total_[r][h];
                sum += shfl_xor(sum, 1);
                sum += shfl_xor(sum, 2);
                total_[r][h] = 0;
                const int64_t row = first_row_ + own_row(r, 2 * h);
                if (lane() % 4 != 0 || row >= p_.n_rows) continue;
                const double m = static_cast<double>(own_.m[r][h]) + static_cast<double>(own_.m_low[r][h]);
                for (int power = 0; power < Weight::kRowPower; ++power) sum /= m;
                if (own_.band[r][h] == HUGE_VALF) sum = 0;  // all its pairs are decided
                p_.partial[chunk * p_.n_rows + row] = kBand ? sum + decided_.sum[own_row(r, 2 * h)] : sum;
            }
        if (!kBand) return;
        sync_warp();
        decided_.clear();
    }

  private:
    const Problem& p_;
    const int64_t first_row_;
    const OwnRows<RM> own_;
    float factor_[RM][2];
    double total_[RM][2];
    Scratch& decided_;
};

template <int RM, int NB>
class Screen {
  public:
    using Scratch = DecidedSums<RM>;

    HNSCORE_DEVICE Screen(const Problem& p, int64_t, int64_t first_row, Scratch& decided)
        : p_(p), first_row_(first_row), own_(p, first_row), decided_(decided) {
        decided_.clear();
    }

    HNSCORE_DEVICE void tile(float (&acc)[RM][NB][4], int64_t first_column) {
        Hits<RM, NB> hits;
#pragma unroll
        for (int n = 0; n < NB; ++n) {
            const OwnColumns columns(p_, first_column, n);
#pragma unroll
            for (int r = 0; r < RM; ++r)
#pragma unroll
                for (int e = 0; e < 4; ++e) {
                    const ColumnFacts& c = columns.c[e % 2];
                    const float gap = std::fma(-own_.m[r][e / 2], c.tau, acc[r][n][e]);
                    hits.add(r, n, e, !(std::fma(own_.band[r][e / 2], c.norm, gap) < 0));  // NaN survives
                }
        }
        hits.keep(own_.real);
        hits.each([&](int row, int column, bool wanted) {
            const int64_t j = first_column + column;
            const Decision d = decide(p_, first_row_ + row, j, wanted && j < p_.n_cols, false);
            decided_.add(row, weight_of(p_.weight, d.s, d.gap, p_.temperature), d.counts);
        });
    }

    HNSCORE_DEVICE void flush(int64_t chunk) {
        for (int i = lane(); i < 16 * RM; i += 32)
            if (first_row_ + i < p_.n_rows) p_.partial[chunk * p_.n_rows + first_row_ + i] = decided_.sum[i];
        sync_warp();
        decided_.clear();
    }

  private:
    const Problem& p_;
    const int64_t first_row_;
    const OwnRows<RM> own_;
    Scratch& decided_;
};

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

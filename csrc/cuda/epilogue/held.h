// What the lanes of a warp hold of its rows and columns, and pairs that wait to be decided.
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

// The pairs of a tile that may be above their thresholds.
template <int RM, int NB>
HNSCORE_DEVICE Hits<RM, NB> may_be_inside(const Problem& p, const OwnRows<RM>& own, const float (&acc)[RM][NB][4],
                                          int64_t first_column) {
    Hits<RM, NB> hits;
#pragma unroll
    for (int n = 0; n < NB; ++n) {
        const OwnColumns columns(p, first_column, n);
#pragma unroll
        for (int r = 0; r < RM; ++r)
#pragma unroll
            for (int e = 0; e < 4; ++e) {
                const ColumnFacts& c = columns.c[e % 2];
                const float gap = std::fma(-own.m[r][e / 2], c.tau, acc[r][n][e]);
                hits.add(r, n, e, !(std::fma(own.band[r][e / 2], c.norm, gap) < 0));  // NaN survives
            }
    }
    hits.keep(own.real);
    return hits;
}

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

}  // namespace hnscore::gpu

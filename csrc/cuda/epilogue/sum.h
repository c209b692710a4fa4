#pragma once

#include "cuda/epilogue/held.h"

namespace hnscore::gpu {

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

}  // namespace hnscore::gpu

#pragma once

#include "cuda/epilogue/held.h"

namespace hnscore::gpu {

template <int RM, int NB>
class Screen {
  public:
    using Scratch = DecidedSums<RM>;

    HNSCORE_DEVICE Screen(const Problem& p, int64_t, int64_t first_row, Scratch& decided)
        : p_(p), first_row_(first_row), own_(p, first_row), decided_(decided) {
        decided_.clear();
    }

    HNSCORE_DEVICE void tile(float (&acc)[RM][NB][4], int64_t first_column) {
        may_be_inside(p_, own_, acc, first_column).each([&](int row, int column, bool wanted) {
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

}  // namespace hnscore::gpu

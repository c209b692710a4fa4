#pragma once

#include "cuda/epilogue/held.h"

namespace hnscore::gpu {

// A count of the same pairs has left each row a place for those of each chunk of columns, one chunk behind the other.
// One warp has all pairs of a row in the chunks of an item, and writes them there one after the other.
template <int RM, int NB>
class List {
  public:
    struct Scratch {
        int64_t next[16 * RM];  // place of p.top, of the next pair of each row
    };

    HNSCORE_DEVICE List(const Problem& p, int64_t part, int64_t first_row, Scratch& scratch)
        : p_(p), first_row_(first_row), own_(p, first_row), scratch_(scratch) {
        const int64_t* const begins = p.begins + part * p.chunks_per_item * p.begins_pitch + first_row;
        for (int i = lane(); i < 16 * RM; i += 32)
            if (first_row + i < p.n_rows) scratch.next[i] = begins[i];
        sync_warp();
    }

    HNSCORE_DEVICE void tile(float (&acc)[RM][NB][4], int64_t first_column) {
        may_be_inside(p_, own_, acc, first_column).each([&](int row, int column, bool wanted) {
            const int64_t j = first_column + column;
            const Decision d = decide(p_, first_row_ + row, j, wanted && j < p_.n_cols, true);
            for (int g = 0; g < kGroups; ++g) {
                const int leader = g * kGroupLanes;
                if (shfl(static_cast<int>(d.counts), leader) == 0) continue;
                const int to = shfl(row, leader);
                const TopEntry pair{shfl(d.s, leader), shfl(p_.first_col + j, leader)};
                if (lane() == 0) p_.top[scratch_.next[to]++] = pair;
            }
            sync_warp();
        });
    }

    HNSCORE_DEVICE void flush(int64_t) {}

  private:
    const Problem& p_;
    const int64_t first_row_;
    const OwnRows<RM> own_;
    Scratch& scratch_;
};

}  // namespace hnscore::gpu

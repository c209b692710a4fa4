// The lists of one thread's rows, while these are in flight.
#pragma once

#include <utility>

#include "lists/pair_lists.h"

namespace hnscore {

class ListedRows {
  public:
    ListedRows(PairLists& lists, int64_t rows)
        : lists_(lists), found_(static_cast<size_t>(rows)), listed_(static_cast<size_t>(rows)) {}

    // Columns that a tile has handed on: a row's are decided together.
    std::vector<int32_t>& found(int64_t i) { return found_[static_cast<size_t>(i)]; }
    // Whether all that s may be, off by at most `error`, is one listed value.
    bool is_settled(double s, double error) const {
        return lists_.in_float32 && static_cast<float>(s - error) == static_cast<float>(s + error);
    }
    void add(int64_t i, int64_t column, double s) {
        listed_[static_cast<size_t>(i)].push_back(
            {static_cast<int32_t>(column), lists_.in_float32 ? static_cast<float>(s) : s});
        ++fresh_;
    }
    // Tells how many there are more; false where there are too many.
    bool report() {
        lists_.add(std::exchange(fresh_, 0));
        return !lists_.too_many();
    }
    // Hands the lists of the first `count` rows over.
    void finish(int64_t first_row, int64_t count) {
        PairLists::Block block{.first_row = first_row, .counts = {}, .pairs = {}};
        size_t total = 0;
        for (int64_t i = 0; i < count; ++i) {
            const size_t size = listed_[static_cast<size_t>(i)].size();
            block.counts.push_back(static_cast<int64_t>(size));
            total += size;
        }
        block.pairs.reserve(total);
        for (int64_t i = 0; i < count; ++i) {
            std::vector<ListedPair>& row = listed_[static_cast<size_t>(i)];
            block.pairs.insert(block.pairs.end(), row.begin(), row.end());
            row.clear();
        }
        lists_.take(std::move(block));
    }

  private:
    PairLists& lists_;
    std::vector<std::vector<int32_t>> found_;
    std::vector<std::vector<ListedPair>> listed_;
    int64_t fresh_ = 0;
};

}  // namespace hnscore

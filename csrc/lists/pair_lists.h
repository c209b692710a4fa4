// The pairs that count, as lists: what the recipe "pairs" makes.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <utility>
#include <vector>

namespace hnscore {

struct ListedPair {
    int32_t column;
    double similarity;
};

// The lists of one block of rows, of any number of threads' blocks, and how many pairs may be listed before the call
// gives up: what it holds stays bounded, whatever counts.
class PairLists {
  public:
    struct Block {
        int64_t first_row = 0;
        std::vector<int64_t> counts;    // one a row
        std::vector<ListedPair> pairs;  // row after row, the columns of a row ascending
    };

    PairLists(int64_t most, bool rounded) : in_float32(rounded), most_(most) {}

    // Similarities as float32 rounds the exact ones; else the exact ones.
    const bool in_float32;

    // So many more were listed.
    void add(int64_t pairs) { found_.fetch_add(pairs, std::memory_order_relaxed); }
    bool too_many() const { return found_.load(std::memory_order_relaxed) > most_; }

    void take(Block&& block) {
        const std::lock_guard<std::mutex> lock(guard_);
        blocks_.push_back(std::move(block));
    }
    // After the call: by row.
    const std::vector<Block>& blocks() {
        std::sort(blocks_.begin(), blocks_.end(), [](auto& a, auto& b) { return a.first_row < b.first_row; });
        return blocks_;
    }

  private:
    const int64_t most_;
    std::atomic<int64_t> found_{0};
    std::mutex guard_;
    std::vector<Block> blocks_;
};

}  // namespace hnscore

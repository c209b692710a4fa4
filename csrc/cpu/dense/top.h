// The k largest keys of one row: candidates collected with bounds, decided exactly only when bounds do not suffice.
//
// An entry is either decided (its key is the float64 one) or known between two float32 bounds in row units. A
// candidate may be dropped when its upper bound is below the k-th largest lower bound: k others are certainly larger.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace hnscore {

class TopRow {
  public:
    struct Entry {
        double key;  // valid where decided
        float lower, upper;
        int32_t col;
        float acc;
        bool decided;
    };

    void reset(int64_t k, float least) {
        k_ = static_cast<size_t>(k);
        capacity_ = 2 * k_ + 64;
        least_ = least;
        entries_.clear();
        entries_.reserve(capacity_);
    }
    // A candidate must exceed this, in row units: Top in recipes/aggregate.h compares with it.
    float least() const { return least_; }
    const std::vector<Entry>& entries() const { return entries_; }

    // Decide is bool(Entry&): sets the key and bounds, false where the pair does not count.
    template <class Decide>
    void push(const Entry& e, const Decide& decide) {
        entries_.push_back(e);
        if (entries_.size() >= capacity_) prune(decide);
    }

    // Leaves the k largest, decided, in descending order, ties to the lowest column.
    template <class Decide>
    void finish(const Decide& decide) {
        drop_hopeless();
        decide_all(decide);
    }

  private:
    template <class Decide>
    void prune(const Decide& decide) {
        drop_hopeless();
        if (entries_.size() > (capacity_ + k_) / 2) decide_all(decide);
    }
    void drop_hopeless() {
        if (entries_.size() < k_) return;
        const auto kth = entries_.begin() + static_cast<std::ptrdiff_t>(k_ - 1);
        std::nth_element(entries_.begin(), kth, entries_.end(),
                         [](const Entry& a, const Entry& b) { return a.lower > b.lower; });
        raise(kth->lower);
        const float bound = kth->lower;
        entries_.erase(
            std::remove_if(entries_.begin(), entries_.end(), [bound](const Entry& e) { return e.upper < bound; }),
            entries_.end());
    }
    template <class Decide>
    void decide_all(const Decide& decide) {
        entries_.erase(
            std::remove_if(entries_.begin(), entries_.end(), [&](Entry& e) { return !e.decided && !decide(e); }),
            entries_.end());
        std::sort(entries_.begin(), entries_.end(),
                  [](const Entry& a, const Entry& b) { return a.key != b.key ? a.key > b.key : a.col < b.col; });
        if (entries_.size() < k_) return;
        entries_.resize(k_);
        raise(entries_.back().lower);
    }
    // The kernel compares rounded float32 products with `least`: a little slack keeps its error on the safe side.
    void raise(float lower) {
        const float safe = lower - std::abs(lower) * 0x1p-20f - std::numeric_limits<float>::min();
        least_ = std::max(least_, safe);
    }

    size_t k_ = 1, capacity_ = 66;
    float least_ = 0;
    std::vector<Entry> entries_;
};

}  // namespace hnscore

// What the rows of a block add up: in lanes by the kernels, in float64 where pairs are decided one by one.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "cpu/dense/pair_test.h"
#include "recipes/recipe.h"

namespace hnscore {

class RowSums {
  public:
    RowSums(PairTest& test, int64_t size, int lanes)
        : test_(test),
          job_(test.job),
          lanes_(lanes),
          states_(kStates[job_.recipe] * lanes),
          sum_(static_cast<size_t>(size)),
          decided_(static_cast<size_t>(size)),
          largest_(static_cast<size_t>(size)) {}

    int states() const { return states_; }  // of a row, in floats
    void reset(int64_t i, float* state) {
        reset_lanes(state);
        sum_[static_cast<size_t>(i)] = decided_[static_cast<size_t>(i)] = 0;
        largest_[static_cast<size_t>(i)] = -HUGE_VAL;
    }
    // Takes the lanes in, and empties them.
    void merge(int64_t i, float* state) {
        merge_lanes(i, state);
        reset_lanes(state);
    }

    // A pair that counts. col_values: where the terms of columns are added up, in a triangle.
    void add(int64_t i, int64_t j, double s, double* col_values) {
        const double shift = job_.terms.col_shift ? job_.terms.col_shift[j] : 0;
        const int64_t row = test_.first + i;
        if (job_.recipe == overlap) {
            const double variance = job_.terms.row_variance[row] + job_.terms.col_variance[j];
            const double distance2 = test_.rows.distance2(row, test_.texts, j),
                         half_dim = static_cast<double>(test_.columns.dim) / 2;
            return merge_log(i, shift - half_dim * std::log(variance) - job_.terms.rate * distance2 / variance, 1);
        }
        const double term = weight_of(job_.recipe, s, s - test_.tau_of(j), job_.temperature) + shift;
        decided_[static_cast<size_t>(i)] += job_.terms.col_weight ? term * job_.terms.col_weight[j] : term;
        if (col_values) col_values[j] += job_.terms.row_weight ? term * job_.terms.row_weight[row] : term;
    }
    void add_sure(int64_t i, double pairs) { decided_[static_cast<size_t>(i)] += pairs; }

    void finish(int64_t i) const {
        const auto at = static_cast<size_t>(i);
        double sum = decided_[at];
        if (job_.recipe == overlap)
            sum = largest_[at] + std::log(sum_[at]);
        else if (test_.own.plain[at])
            sum += sum_[at] / std::pow(test_.m_of(i), kRowPower[job_.recipe]);
        job_.values[test_.first + i] = sum;
    }

  private:
    void reset_lanes(float* state) const {
        std::memset(state, 0, static_cast<size_t>(states_) * sizeof(float));
        if (job_.recipe == overlap) std::fill(state, state + lanes_, LogSum<Overlap>::kNone);
    }
    void merge_lanes(int64_t i, const float* state) {
        const float* end = state + lanes_;
        if (job_.recipe != overlap) {
            double sums[4] = {};  // lanes are 4, 8 or 16
            for (const float* l = state; l < end; l += 4)
                for (int quarter = 0; quarter < 4; ++quarter) sums[quarter] += static_cast<double>(l[quarter]);
            sum_[static_cast<size_t>(i)] += (sums[0] + sums[2]) + (sums[1] + sums[3]);
            return;
        }
        const float largest = *std::max_element(state, end);
        float sum = 0;
        for (int l = 0; l < lanes_; ++l) sum += end[l] * std::exp(state[l] - largest);
        if (sum > 0) merge_log(i, largest, sum);
    }
    // The row's log sum takes in sum * exp(e).
    void merge_log(int64_t i, double e, double sum) {
        double &largest = largest_[static_cast<size_t>(i)], &mine = sum_[static_cast<size_t>(i)];
        const double now = std::max(largest, e);
        mine = (mine > 0 ? mine * std::exp(largest - now) : 0) + sum * std::exp(e - now);
        largest = now;
    }

    PairTest& test_;
    const Job& job_;
    const int lanes_, states_;
    std::vector<double> sum_, decided_;  // of lanes, in row units; of pairs decided one by one
    std::vector<double> largest_;        // of a log sum: sum_ lacks the factor exp(largest)
};

}  // namespace hnscore

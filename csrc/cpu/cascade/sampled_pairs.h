// A sample of a call's pairs: their products and what these must exceed; and what a cascade would leave of them.
#pragma once

#include <vector>

#include "cpu/cascade/basis.h"
#include "cpu/cascade/plan.h"

namespace hnscore {

constexpr int64_t kPrefixStep = 32;

// How closely a call is looked at: pairs of a sample of rows and columns, and the rows of each side that a basis is
// learnt from, in how many steps of subspace iteration.
struct Effort {
    int64_t rows, columns, learnt;
    int steps;
};
// What a first pass over so many directions would leave, and the mean sizes of what these hold of a row and leave out.
struct Prefix {
    int64_t count = 0;
    double kept = 0, row_tail = 1, column_tail = 1, row_size = 1, column_size = 1;
};

// Evenly spread rows of a view, scaled as x'; by their offset two samples of large views differ. Bad rows are left to
// the call itself, which names them.
struct Sample {
    Sample(const Format& format, const View& view, int64_t most, double offset, int n_threads);

    int64_t count, dim;
    std::vector<int64_t> rows;
    std::vector<RowFacts> facts;
    std::vector<float> values;
};

class SampledPairs {
  public:
    // warm: columns that give a top recipe its first threshold, or 0.
    SampledPairs(const PlanRequest& request, const Effort& effort, int64_t warm, int n_threads);

    // The share of pairs that come within `error` |x||t| of their threshold, or above it.
    double share(double error) const;
    // Directions that take up to the share f of every row leave sqrt(1 - f) of it. With second moments C of unit rows,
    // the leading n hold at most sqrt(n tr(C^2)), and tr(C^2) is the mean squared similarity. No basis helps where the
    // product of the rests already exceeds most thresholds.
    bool promising() const;
    // For each length of the prefix.
    std::vector<Prefix> prefixes(const Directions& directions) const;

  private:
    const PlanRequest& request_;
    const Target& target_;
    const int64_t dim_;
    const int n_threads_;
    const Sample a_, b_;  // rows, columns
    std::vector<float> products_, thresholds_, norms_;
};

}  // namespace hnscore

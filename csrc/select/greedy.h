// Greedy selections in which a row's gain depends on the rows picked before it and never rises: k-center, repulsion,
// herding. With c over the picked and the covered rows, the gain of row x at pick t is
//
//     farthest:   min_c (1 - s(x, c))                                          a distance below 2^-40 counts as 0
//     otherwise:  base(x) * (first_factor + t * factor_step) - penalty * sum_c exp((s(x, c) - 1) / temperature)
//
// and the pick is the row of largest gain, ties to the lowest index.
#pragma once

#include <vector>

#include "core/team.h"
#include "cpu/target/target.h"

namespace hnscore {

struct GreedyProblem {
    View rows;  // finite, not zero
    const Target* target = nullptr;
    bool farthest = false;
    const double* base = nullptr;  // null: 0. At most 0 where the factor grows, so that gains do not rise
    double first_factor = 1, factor_step = 0;
    double penalty = 0, temperature = 1;  // penalty >= 0
    std::vector<int64_t> covered;         // never picked; without repetition
    int64_t budget = 0;                   // at most the rows that are not covered
};

struct GreedyCounts {
    int64_t rows_read = 0;
    int64_t products = 0;  // of a row with a picked or covered one
};

// The farthest row from nothing is the one nearest the mean direction, of largest x . mean(x / |x|) / |x|. Picks are
// written one by one, so that those before an interruption are known; their gains too. Farthest from nothing: infinite.
GreedyCounts greedy(const GreedyProblem& problem, int64_t* picks, double* gains, int n_threads, const Poll& poll);

}  // namespace hnscore

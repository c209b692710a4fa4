// What the rows of a greedy choice lose to its picks: cosines with packed rows, added up or the least of them, in
// float64.
#pragma once

#include <atomic>
#include <limits>
#include <memory>
#include <numeric>
#include <vector>

#include "core/team.h"
#include "select/greedy.h"
#include "select/packed_rows.h"

namespace hnscore {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// What a row has lost to the picks 0 .. stamp - 1: its least distance, or its sum of kernels. Later picks only lower
// the gain, so that the gain from a stale entry is an upper bound.
struct Entry {
    int64_t row;
    double base, value;
    int32_t stamp;
};

struct Candidate {
    double key;
    int64_t row;
    int32_t slot;
};

// Larger gain first, ties to the lowest index.
inline bool before(const Candidate& a, const Candidate& b) {
    return a.key > b.key || (a.key == b.key && a.row < b.row);
}
constexpr Candidate kNobody{-kInfinity, std::numeric_limits<int64_t>::max(), -1};

// Rough times in nanoseconds of one thread: they choose the size of the front and never a pick.
struct Costs {
    explicit Costs(int64_t dim)
        : product(5 + 0.04 * static_cast<double>(dim)), read(20 + 0.15 * static_cast<double>(dim)) {}
    double product, read;
    double scan = 20, look = 4;  // of a row, when all are ranked, and in the front
};

class Losses {
  public:
    Losses(const GreedyProblem& problem, int n_threads, Poll poll)
        : costs(problem.rows.dim),
          norms(problem.rows.rows),
          p_(problem),
          n_(problem.rows.rows),
          n_threads_(n_threads),
          poll_(std::move(poll)),
          groups_(static_cast<size_t>(n_threads)) {}

    // Norms of all rows, and the sum of their directions by blocks that depend on nothing but n.
    void measure(bool with_mean);
    // After `measure` with the mean.
    int64_t nearest_mean();

    // Entries, in any order but best in that of their stamps, are compared with all of `others` that they have missed,
    // each of which stands for `each` rows.
    void evaluate(Entry* const* entries, int64_t count, const PackedRows& others, double each, double& cost);

    const Costs costs;
    Buffer<double> norms;
    GreedyCounts counts;

  private:
    template <class Body>
    void in_parallel(int64_t count, int64_t step, double nanoseconds, const Body& body);
    void update(RowGroup& group, Entry* const* entries, int64_t count, const PackedRows& others, double each) const;
    void lose(Entry& entry, double* s, int64_t count, double each) const;

    const GreedyProblem& p_;
    const int64_t n_;
    const int n_threads_;
    const Poll poll_;
    std::vector<std::unique_ptr<RowGroup>> groups_;  // one a thread
    std::vector<double> mean_;
};

}  // namespace hnscore

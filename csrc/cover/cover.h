// Greedy facility location (cover/coverage.h): candidates picked one after another for the largest gain, each raising
// the floor; ties to the lowest row. Decided in float64.
//
// A gain only falls from pick to pick, so that an earlier one is an upper bound (Minoux). Those that lead by their
// bound get one at the present floor, in float32; those that lead by that, their gain in float64. The pick is the best
// of these, once no bound is above it.
#pragma once

#include <memory>

#include "cover/coverage.h"

namespace hnscore {

class Cover {
  public:
    // `weights` of the points, null: 1; `floor`: what covers them before, and after the picks. `memory`: bytes for
    // packed points and for kernels that are kept; what is needed comes on top.
    Cover(const Coverage& coverage, const double* weights, double* floor, int64_t memory, int n_threads,
          const Poll& poll);
    ~Cover();

    // Whether the memory is enough for all kernels: then no `lower` is of use.
    bool keeps_all() const;
    // Bounds on the gain of every row of the view, at the present floor.
    void lower(const double* bounds);

    struct Request {
        int64_t picks = 0;
        // Returns before a pick for which so many candidates wait to be looked at that they are, with those looked at
        // since `lower`, more than this; 0: never. It is the caller's turn to `lower`, or not to.
        int64_t patience = 0;
        // Candidates looked at for a pick, drawn from all that are left; 0: all.
        int64_t draw = 0;
        uint64_t seed = 0;
    };
    // How many picks were made, as rows, and the gain of each. They are written one by one, so that those before an
    // interruption are known.
    int64_t pick(const Request& request, int64_t* picks, double* gains, const Poll& poll);

    struct Counts {
        int64_t bounds = 0, gains = 0;  // computed so far: in float32, in float64
    };
    Counts counts() const;

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace hnscore

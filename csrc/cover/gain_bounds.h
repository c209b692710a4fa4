// What candidates can add at most to what covers the points (cover/coverage.h), in float32: which of them a step of
// the greedy must look at in float64.
//
// A candidate is compared with all points once, and leaves the list of those that it would cover better
// (cover/point_lists.h). Where there is no memory for its list yet, it is compared with the points whose floors have
// risen most since all bounds were known, until what it has lost there rules it out.
#pragma once

#include <vector>

#include "core/buffer.h"
#include "cover/coverage.h"
#include "cover/packed_points.h"
#include "cover/point_lists.h"

namespace hnscore {

class GainBounds {
  public:
    // `memory`: bytes for packed points and for lists; less works too, more slowly. `latest`: the last bound of each
    // candidate.
    GainBounds(const Coverage& coverage, const double* weights, const std::vector<double>& latest, int64_t memory,
               int n_threads, const Poll& poll);

    struct Bound {
        int64_t candidate;
        double gain;       // in: a bound. Out: one that is no larger, at the present floor
        double least = 0;  // what the gain is at least
    };
    // Those whose gain turns out to be below `least` are not looked at any further.
    void update(std::vector<Bound>& bounds, double least, const Poll& poll);
    // As many as may be updated at a time.
    int64_t most() const { return most_; }

    // All of `latest` are bounds at the present floor.
    void all_known();
    // What the floor is at all points now.
    void set_floor(const double* floor);
    // Its list is not needed any more.
    void forget(int64_t candidate) { lists_.forget(candidate); }

    bool knows(int64_t candidate) const { return lists_.has(candidate); }
    // The points that it would cover better, of a candidate that is known.
    std::vector<int64_t> points(int64_t candidate) const { return lists_.points(candidate); }
    // Whether there is room for all kernels, so that nothing is computed twice; for the lists of so many more.
    bool keeps_all() const { return lists_.has_all_codes(); }
    bool has_room(int64_t candidates) const { return lists_.has_room(candidates, expected_); }
    // What was computed since `all_known` and has left no list, and what one more costs, as far as is known: as shares
    // of a candidate's products.
    double work() const { return work_; }
    double share() const { return share_; }

  private:
    struct Race;
    struct Room;  // of a thread
    bool are_the_points() const;
    void compute_half(const Poll& poll);
    void place(bool sort, const Poll& poll);
    void compute(Bound* const* some, int64_t count, double least, bool listed, Room& room);
    void make_room(int64_t candidates, double least, const Poll& poll);
    template <class Work>
    void share_out(int64_t n, int64_t most, double operations, const Poll& poll, const Work& work) const;

    const Coverage c_;
    const double* const given_weights_;
    const std::vector<double>& latest_;
    const Target& target_;
    const int n_threads_;
    const float slack_, rate_;
    const KernelError error_;
    const int64_t most_;
    PackedPoints points_;
    PointLists lists_;
    bool in_order_ = true;                  // the points are packed as they are given
    Buffer<float> weights_, base_, floor_;  // by their place there
    std::vector<double> base_of_point_, floor_of_point_, base_bounds_;
    bool sorted_ = false, placed_ = false, swept_ = false;  // at the present floor
    const double total_;                                    // of the weights
    double expected_, work_ = 0, share_ = 0;
};

}  // namespace hnscore

// What candidates can add at most to what covers the points (select/coverage.h), in float32: which of them a step of
// the greedy must look at in float64. Kernels are computed once, as long as there is memory to keep them.
#pragma once

#include <vector>

#include "core/buffer.h"
#include "select/coverage.h"
#include "select/float_tiles.h"

namespace hnscore {

class GainBounds {
  public:
    // `memory`: bytes for packed points and for kernels that are kept; less works too, more slowly. `latest`: the last
    // bound of each candidate; kernels of those with the smallest are the first to go.
    GainBounds(const Coverage& coverage, const double* weights, const std::vector<double>& latest, int64_t memory,
               int n_threads, const Poll& poll);

    struct Bound {
        int64_t candidate;
        double gain;  // in: a bound. Out: one that is no larger, at the present floor
    };
    void update(std::vector<Bound>& bounds, const Poll& poll);

    bool knows(int64_t candidate) const { return slots_[candidate] != kNone; }
    // What the gain is at least where the bound at the present floor is this.
    double at_least(double bound) const;
    // What the floor is at all points now.
    void set_floor(const double* floor);
    // Its kernels are not needed any more.
    void forget(int64_t candidate);

  private:
    struct Room;  // of a thread
    static constexpr int32_t kNone = -1;
    void pack(int64_t block, float* panels, float* scales, RowReader& reader) const;
    void compute(Bound* const* some, int64_t count, Room& room) const;
    double gain(const uint16_t* kernels, int64_t block) const;
    double sum_of_kept(int64_t candidate) const;
    double with_the_least(double sum) const;
    void make_room(int64_t wanted);

    const Coverage c_;
    const std::vector<double>& latest_;
    const Target& target_;
    const int n_threads_;
    const FloatPanels panel_;
    const int64_t width_, blocks_, pitch_;  // of the points: blocks of `width_`, padded to `pitch_` in all
    const float slack_, rate_;
    double spread_ = 1, total_ = 0, covered_ = 0;
    int64_t kept_blocks_ = 0;
    Buffer<float> panels_, scales_, weights_, floor_;
    Buffer<uint16_t> kernels_;  // [slot][point]
    Buffer<int32_t> slots_;     // of each candidate, or kNone
    std::vector<int32_t> free_;
    std::vector<int64_t> kept_;  // the candidates with slots
};

}  // namespace hnscore

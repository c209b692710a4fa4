// What is left of a candidate's kernels: those that are above the floor of their point, rounded up. Floors only rise,
// so that this is all a gain needs from then on; what the floor has reached is dropped on the way.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "core/buffer.h"
#include "cpu/target/target.h"

namespace hnscore {

// A kernel, before it is rounded up to a code, is at most (1 + relative) times what it is, and `absolute` more.
struct KernelError {
    double relative = 0, absolute = 0;
};

class PointLists {
  public:
    static constexpr int64_t kMostPoints = int64_t{1} << 27;

    // `memory`: bytes for the lists of so many candidates.
    // Codes (cover/kernel_code.h) have `pitch` places, a multiple of Kernels::lanes; those beyond the points add
    // nothing.
    PointLists(const Target& target, int64_t candidates, int64_t points, int64_t pitch, const double* weights,
               KernelError error, int64_t memory);

    void set_floor(const double* floor);

    struct Gain {
        double most = 0, least = 0;  // it lies between these
    };
    // From several threads, for different candidates: of one with a list; of one whose codes with all points are given,
    // and how many of them are above the floor.
    Gain gain(int64_t candidate);
    Gain gain_of_codes(const uint16_t* codes, int64_t& above) const;
    // From codes with all points.
    void keep(int64_t candidate, const uint16_t* codes);
    void forget(int64_t candidate);
    bool has(int64_t candidate) const {
        const List& list = lists_[static_cast<size_t>(candidate)];
        return list.entries || list.coded;
    }
    // The points of its list, ascending.
    std::vector<int64_t> points(int64_t candidate) const;

    // Where there is memory for the codes of all candidates with all points, they are written here, and become lists
    // once these are short; null: there is not.
    uint16_t* codes_of(int64_t candidate) const {
        return has_all_codes() ? codes_.data() + candidate * pitch_ : nullptr;
    }
    bool has_all_codes() const { return codes_.data() != nullptr; }
    bool has_room(int64_t lists, double entries) const {
        const double bytes = static_cast<double>(lists) * (4 * entries + kHead);
        return has_all_codes() || bytes <= static_cast<double>(memory_ - used_.load());
    }

  private:
    using Entry = uint32_t;               // the number of the point, and above it the first bits of the kernel's code
    static constexpr int64_t kHead = 16;  // bytes of a list
    static constexpr int64_t kShort = 8;  // points for an entry
    struct List {
        std::unique_ptr<Entry[]> entries;
        int32_t count = 0, size = 0;
        bool coded = false;  // not listed yet
    };
    int64_t list(const uint16_t* codes, Entry* out) const;
    Gain gain_of_entries(Entry* entries, int32_t& count) const;
    void set(List& list, const Entry* entries, int64_t count);

    const Target& target_;
    const int64_t points_, pitch_;
    const int point_bits_, dropped_bits_;  // of a code's 16, those that an entry has no room for
    const KernelError error_;
    const float factor_, less_;  // a kernel is at least this times what an entry says, less that
    const int64_t memory_;
    double total_, covered_ = 0;  // of the weights; and of the floors
    Buffer<float> weights_, floor_;
    Buffer<uint16_t> reached_;  // the first code above the floor
    Buffer<uint16_t> codes_;    // [candidate][point]
    std::vector<List> lists_;
    std::atomic<int64_t> used_{0};
};

}  // namespace hnscore

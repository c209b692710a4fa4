#include "cover/point_lists.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <stdexcept>

#include "cover/kernel_code.h"

namespace hnscore {
namespace {

constexpr int kLeastPointBits = 16;
constexpr int64_t kTerms = 512;              // of a float32 sum
constexpr double kSumUp = 1 + 160 * kUnit;   // such a sum on lanes of a quarter or less, with the terms' own roundings
constexpr double kFloorUp = 1 + 16 * kUnit;  // a floor beside what it was rounded down to, and more

int point_bits(int64_t points) {
    if (points > PointLists::kMostPoints) throw std::invalid_argument("too many points");
    return std::max(kLeastPointBits, static_cast<int>(std::bit_width(static_cast<uint64_t>(points - 1))));
}

// By how much a kernel is rounded up at most, relative, with so many bits less than a code's.
double rounding(int dropped_bits) { return std::ldexp(1.0, dropped_bits - (23 - kKernelShift)); }

// sum_i weights_i max(factor kernels_i - less - floors_i, 0)
double sum_of(const float* kernels, const float* floors, const float* weights, int64_t n, float factor, float less) {
    constexpr int64_t kLanes = 8;
    float lanes[kLanes] = {};
    const auto term = [&](int64_t i) { return weights[i] * std::max(kernels[i] * factor - less - floors[i], 0.0f); };
    int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes)
        for (int64_t lane = 0; lane < kLanes; ++lane) lanes[lane] += term(i + lane);
    for (int64_t lane = 0; i < n; ++i, ++lane) lanes[lane] += term(i);
    double sum = 0;
    for (const float lane : lanes) sum += static_cast<double>(lane);
    return sum;
}

}  // namespace

PointLists::PointLists(const Target& target, int64_t candidates, int64_t points, int64_t pitch, const double* weights,
                       KernelError error, int64_t memory)
    : target_(target),
      points_(points),
      pitch_(pitch),
      point_bits_(point_bits(points)),
      dropped_bits_(point_bits_ - kLeastPointBits),
      error_(error),
      factor_(static_cast<float>(1 / ((1 + error.relative) * (1 + rounding(dropped_bits_)) * kFloorUp))),
      less_(static_cast<float>(error.absolute * kFloorUp)),
      memory_(memory),
      total_(static_cast<double>(points)),
      floor_(pitch_),
      reached_(points),
      lists_(static_cast<size_t>(candidates)) {
    std::fill(floor_.data() + points, floor_.data() + pitch_, 1.0f);
    if (candidates * (2 * pitch_ + 4 * (points_ / kShort) + kHead) <= memory)
        codes_ = Buffer<uint16_t>(candidates * pitch_);
    if (weights == nullptr) return;
    total_ = std::accumulate(weights, weights + points, 0.0);
    weights_ = Buffer<float>(pitch_);
    for (int64_t i = 0; i < pitch_; ++i) weights_[i] = i < points ? rounded_up(weights[i]) : 0;
}

void PointLists::set_floor(const double* floor) {
    covered_ = 0;
    for (int64_t i = 0; i < points_; ++i) {
        floor_[i] = rounded_down(floor[i]);
        reached_[i] = first_above(floor_[i]);
        covered_ += floor[i] * (weights_.data() == nullptr ? 1 : static_cast<double>(weights_[i]));
    }
}

// Kernels below the codes' range were taken for the least of these: gains may be less by 2^-31 a point. A bound is
// larger than (1 + off) times the gain and off times what is covered only by that, and by the absolute error a point.
PointLists::Gain PointLists::gain_of_codes(const uint16_t* codes, int64_t& above) const {
    double most = 0;
    above = 0;
    for (int64_t from = 0; from < pitch_; from += kTerms) {
        const float* weights = weights_.data() == nullptr ? nullptr : weights_.data() + from;
        float counted;
        most += static_cast<double>(
            target_.gain(codes + from, floor_.data() + from, weights, std::min(kTerms, pitch_ - from), &counted));
        above += static_cast<int64_t>(counted);
    }
    most = most * kSumUp + (total_ + 1) * 0x1p-60;
    const double off = (1 + error_.relative) * (1 + rounding(0)) * kSumUp - 1 + 4 * kUnit;
    return {most, (most - off * covered_ - 2 * error_.absolute * total_) / (1 + off) - total_ * 0x1p-30};
}

int64_t PointLists::list(const uint16_t* codes, Entry* out) const {
    const auto up = static_cast<uint32_t>((1 << dropped_bits_) - 1);
    const int point_bits = point_bits_, dropped_bits = dropped_bits_;
    const uint16_t* const reached = reached_.data();
    int64_t count = 0;
    for (int64_t i = 0; i < points_; ++i) {
        out[count] = static_cast<uint32_t>(i) | ((codes[i] + up) >> dropped_bits) << point_bits;
        count += codes[i] >= reached[i];
    }
    return count;
}

PointLists::Gain PointLists::gain_of_entries(Entry* entries, int32_t& count) const {
    float kernels[kTerms], floors[kTerms], weights[kTerms];
    std::fill(weights, weights + kTerms, 1.0f);
    const Entry mask = (Entry{1} << point_bits_) - 1;
    const int point_bits = point_bits_, dropped_bits = dropped_bits_;
    const float *const floor = floor_.data(), *const weight = weights_.data();
    double most = 0, least = 0;
    int64_t kept = 0;
    for (int64_t from = 0; from < count; from += kTerms) {
        const int64_t n = std::min<int64_t>(kTerms, count - from);
        for (int64_t i = 0; i < n; ++i) {
            const Entry e = entries[from + i];
            kernels[i] = kernel_of(static_cast<uint16_t>((e >> point_bits) << dropped_bits));
            floors[i] = floor[e & mask];
            if (weight != nullptr) weights[i] = weight[e & mask];
            entries[kept] = e;
            kept += kernels[i] > floors[i];
        }
        most += sum_of(kernels, floors, weights, n, 1, 0);
        least += sum_of(kernels, floors, weights, n, factor_, less_);
    }
    count = static_cast<int32_t>(kept);
    return {most * kSumUp + (total_ + 1) * 0x1p-60, least * (2 - kSumUp) - total_ * 0x1p-30};
}

PointLists::Gain PointLists::gain(int64_t candidate) {
    List& list = lists_[static_cast<size_t>(candidate)];
    if (list.coded) {
        int64_t above;
        const Gain found = gain_of_codes(codes_of(candidate), above);
        if (above * kShort <= points_) {
            Buffer<Entry> entries(points_ + 1);
            set(list, entries.data(), this->list(codes_of(candidate), entries.data()));
        }
        return found;
    }
    const Gain found = gain_of_entries(list.entries.get(), list.count);
    if (2 * list.count < list.size) {
        const std::unique_ptr<Entry[]> entries = std::move(list.entries);
        set(list, entries.get(), list.count);
    }
    return found;
}

void PointLists::keep(int64_t candidate, const uint16_t* codes) {
    List& list = lists_[static_cast<size_t>(candidate)];
    if (codes == codes_of(candidate)) {
        list.coded = true;
        return;
    }
    Buffer<Entry> entries(points_ + 1);
    set(list, entries.data(), this->list(codes, entries.data()));
}

void PointLists::set(List& list, const Entry* entries, int64_t count) {
    if (list.size > 0) used_ -= 4 * list.size + kHead;
    list = {.entries = std::make_unique_for_overwrite<Entry[]>(static_cast<size_t>(count)),
            .count = static_cast<int32_t>(count),
            .size = static_cast<int32_t>(count)};
    std::copy_n(entries, count, list.entries.get());
    if (count > 0) used_ += 4 * count + kHead;
}

void PointLists::forget(int64_t candidate) {
    List& list = lists_[static_cast<size_t>(candidate)];
    if (list.size > 0) used_ -= 4 * list.size + kHead;
    list = {};
}

std::vector<int64_t> PointLists::points(int64_t candidate) const {
    const List& list = lists_[static_cast<size_t>(candidate)];
    std::vector<int64_t> out;
    if (list.coded) {
        const uint16_t* codes = codes_of(candidate);
        for (int64_t i = 0; i < points_; ++i)
            if (codes[i] >= reached_[i]) out.push_back(i);
    } else {
        const Entry mask = (Entry{1} << point_bits_) - 1;
        for (int32_t i = 0; i < list.count; ++i) out.push_back(list.entries[static_cast<size_t>(i)] & mask);
    }
    return out;
}

}  // namespace hnscore

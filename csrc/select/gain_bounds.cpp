#include "select/gain_bounds.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <memory>

namespace hnscore {
namespace {

constexpr int64_t kWidest = 512;  // points of a block, of which float32 sums are made
// A float32 sum of up to 512 / 4 terms a lane, of the lanes, and the terms' own roundings, in units of 2^-24.
constexpr double kSumUp = 1 + 160 * kUnit;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// As many points as half of the second-level cache has room for.
int64_t width_of(const Coverage& c, int64_t depth) {
    const int64_t cols = c.target->fp32.cols,
                  fit = std::min(kWidest, c.target->block_bytes / (depth * 4)) / cols * cols;
    return std::max(cols, std::min(fit, ceil_div(c.points.rows, cols) * cols));
}

// Of numbers that are not negative.
float rounded_up(double x) { return static_cast<float>(x * (1 + 2 * kUnit)); }
float rounded_down(double x) { return static_cast<float>(x * (1 - 2 * kUnit)); }

}  // namespace

struct GainBounds::Room {
    explicit Room(const GainBounds& b)
        : tiles(b.target_, b.c_.rows),
          products(b.target_.fp32.rows * b.width_),
          kernels(b.width_),
          points(b.kept_blocks_ < b.blocks_ ? std::make_unique<Points>(b) : nullptr) {}

    struct Points {  // of a block that is not kept
        explicit Points(const GainBounds& b)
            : reader(float_format(b.target_, b.c_.points.dim), b.c_.points), panels(b.panel_.depth * b.width_) {}
        RowReader reader;
        Buffer<float> panels;
    };
    FloatTiles tiles;
    Buffer<float> products;
    Buffer<uint16_t> kernels;
    std::unique_ptr<Points> points;
};

GainBounds::GainBounds(const Coverage& coverage, const double* weights, const std::vector<double>& latest,
                       int64_t memory, int n_threads, const Poll& poll)
    : c_(coverage),
      latest_(latest),
      target_(*coverage.target),
      n_threads_(n_threads),
      panel_(target_, coverage.points.dim),
      width_(width_of(coverage, panel_.depth)),
      blocks_(ceil_div(coverage.points.rows, width_)),
      pitch_(blocks_ * width_),
      slack_(rounded_up(float_slack(coverage.points.dim))),
      rate_(rounded_down(1 / std::max(coverage.temperature, 0x1p-120))),
      scales_(pitch_),
      floor_(pitch_),
      slots_(coverage.count) {
    // The exponent of a kernel is too large by at most 2 slack / T and 2^-20 of itself, which matters up to 104; it is
    // rounded to 12 bits.
    spread_ = std::exp(2.1 * static_cast<double>(slack_) / c_.temperature + 105 * 0x1p-20 + 0x1p-11) * kSumUp;
    const int64_t block_bytes = panel_.depth * width_ * 4;
    kept_blocks_ = std::min(blocks_, std::max<int64_t>(0, memory / 2) / block_bytes);
    panels_ = Buffer<float>(kept_blocks_ * panel_.depth * width_);
    const int64_t left = std::max<int64_t>(0, memory - kept_blocks_ * block_bytes);
    const int64_t slots = std::min({c_.count, left / (pitch_ * 2), int64_t{INT32_MAX}});
    kernels_ = Buffer<uint16_t>(slots * pitch_);
    for (int64_t slot = slots; slot-- > 0;) free_.push_back(static_cast<int32_t>(slot));
    std::fill(slots_.data(), slots_.data() + c_.count, kNone);
    if (weights != nullptr) {
        weights_ = Buffer<float>(pitch_);
        for (int64_t i = 0; i < pitch_; ++i) weights_[i] = i < c_.points.rows ? rounded_up(weights[i]) : 0;
        for (int64_t i = 0; i < c_.points.rows; ++i) total_ += weights[i];
    } else {
        total_ = static_cast<double>(c_.points.rows);
    }
    std::fill(scales_.data(), scales_.data() + pitch_, 0.0f);
    std::atomic<int64_t> next{0};
    Team team(useful_threads(n_threads, blocks_, 20.0 * static_cast<double>(c_.points.rows * panel_.depth)), blocks_,
              poll);
    team.run([&](int worker) {
        RowReader reader(float_format(target_, c_.points.dim), c_.points);
        Buffer<float> unkept(kept_blocks_ < blocks_ ? panel_.depth * width_ : 0);
        for (int64_t block; (block = next.fetch_add(1)) < blocks_;) {
            float* panels = block < kept_blocks_ ? panels_.data() + block * panel_.depth * width_ : unkept.data();
            pack(block, panels, scales_.data() + block * width_, reader);
            if (!team.advance(worker, 1)) return;
        }
    });
}

void GainBounds::pack(int64_t block, float* panels, float* scales, RowReader& reader) const {
    const int64_t first = block * width_, end = std::min(c_.points.rows, first + width_);
    Buffer<float> values(panel_.cols * panel_.depth);
    std::fill(values.data(), values.data() + panel_.cols * panel_.depth, 0.0f);
    for (int64_t from = first; from < first + width_; from += panel_.cols, panels += panel_.size) {
        const int64_t present = std::max<int64_t>(0, std::min(end - from, panel_.cols));
        for (int64_t i = 0; i < present; ++i) {
            const RowFacts facts = reader.read(from + i, values.data() + i * panel_.depth);
            if (scales != nullptr) scales[from + i - first] = static_cast<float>(1 / facts.m);
        }
        kFloat32.pack_panel(values.data(), panel_.depth, static_cast<int>(present), static_cast<int>(panel_.cols),
                            panel_.depth, reinterpret_cast<char*>(panels), nullptr);
    }
}

void GainBounds::set_floor(const double* floor) {
    covered_ = 0;
    for (int64_t i = 0; i < pitch_; ++i) {
        const bool point = i < c_.points.rows;
        floor_[i] = point ? rounded_down(floor[i]) : 2;  // what pads covers nothing
        if (point) covered_ += floor[i] * (weights_.data() == nullptr ? 1 : static_cast<double>(weights_[i]));
    }
}

// A bound is larger than spread G + (spread - 1) times what is covered only by the least kernels.
double GainBounds::at_least(double bound) const {
    return (bound - (spread_ - 1 + 4 * kUnit) * covered_ - with_the_least(0)) / (spread_ + 4 * kUnit);
}

// A sum of parts, with what float32 has no numbers for.
double GainBounds::with_the_least(double sum) const {
    return sum * (1 + 0x1p-40) + (total_ + static_cast<double>(blocks_)) * 0x1p-31;
}

double GainBounds::gain(const uint16_t* kernels, int64_t block) const {
    const float* weights = weights_.data() == nullptr ? nullptr : weights_.data() + block * width_;
    return static_cast<double>(target_.gain(kernels, floor_.data() + block * width_, weights, width_)) * kSumUp;
}

double GainBounds::sum_of_kept(int64_t candidate) const {
    const uint16_t* kernels = kernels_.data() + slots_[candidate] * pitch_;
    double sum = 0;
    for (int64_t b = 0; b < blocks_; ++b) sum += gain(kernels + b * width_, b);
    return with_the_least(sum);
}

void GainBounds::update(std::vector<Bound>& bounds, const Poll& poll) {
    std::vector<Bound*> known, others;
    for (Bound& bound : bounds) (knows(bound.candidate) ? known : others).push_back(&bound);
    // `work(first, last, room)` of items, in steps.
    const auto share_out = [&](int64_t n, int64_t most, double operations, const auto& work) {
        const int threads = useful_threads(n_threads_, n, operations * static_cast<double>(n * pitch_));
        const int64_t step = std::max<int64_t>(1, std::min(most, ceil_div(n, threads)));
        std::atomic<int64_t> next{0};
        Team team(threads, ceil_div(n, step), poll);
        team.run([&](int worker) {
            for (int64_t i; (i = next.fetch_add(step)) < n;) {
                work(worker, i, std::min(n, i + step));
                if (!team.advance(worker, 1)) return;
            }
        });
    };
    if (!known.empty())
        share_out(static_cast<int64_t>(known.size()), 16, 4, [&](int, int64_t first, int64_t last) {
            for (int64_t i = first; i < last; ++i) {
                Bound& b = *known[static_cast<size_t>(i)];
                b.gain = std::min(b.gain, sum_of_kept(b.candidate));
            }
        });
    if (others.empty()) return;
    const auto n = static_cast<int64_t>(others.size());
    make_room(n);
    for (int64_t i = 0; i < n && !free_.empty(); ++i) {
        slots_[others[static_cast<size_t>(i)]->candidate] = free_.back();
        free_.pop_back();
    }
    std::vector<std::unique_ptr<Room>> rooms(static_cast<size_t>(n_threads_));
    share_out(n, FloatTiles::most(target_), static_cast<double>(panel_.depth),
              [&](int worker, int64_t first, int64_t last) {
                  auto& room = rooms[static_cast<size_t>(worker)];
                  if (!room) room = std::make_unique<Room>(*this);
                  compute(others.data() + first, last - first, *room);
              });
    for (const Bound* b : others)
        if (knows(b->candidate)) kept_.push_back(b->candidate);
}

// Of at most FloatTiles::most candidates.
void GainBounds::compute(Bound* const* some, int64_t count, Room& room) const {
    const int64_t rows = target_.fp32.rows;
    for (int64_t i = 0; i < count; ++i) room.tiles.read(i, c_.candidates[some[i]->candidate]);
    std::vector<double> sums(static_cast<size_t>(count), 0.0);
    for (int64_t block = 0; block < blocks_; ++block) {
        const float* panels = panels_.data() + block * panel_.depth * width_;
        if (block >= kept_blocks_) {
            pack(block, room.points->panels.data(), nullptr, room.points->reader);
            panels = room.points->panels.data();
        }
        for (int64_t first = 0; first < count; first += rows) {
            room.tiles.multiply(first / rows, panels, width_ / panel_.cols, room.products.data(), width_);
            for (int64_t i = first; i < std::min(count, first + rows); ++i) {
                const int32_t slot = slots_[some[i]->candidate];
                uint16_t* kernels =
                    slot == kNone ? room.kernels.data() : kernels_.data() + slot * pitch_ + block * width_;
                target_.upper_kernels(room.products.data() + (i - first) * width_, width_,
                                      scales_.data() + block * width_, room.tiles.scale(i), slack_, rate_, kernels);
                sums[static_cast<size_t>(i)] += gain(kernels, block);
            }
        }
    }
    for (int64_t i = 0; i < count; ++i)
        some[i]->gain = std::min(some[i]->gain, with_the_least(sums[static_cast<size_t>(i)]));
}

// For the kernels of so many: those of the candidates with the smallest bounds go, the least likely to be asked for
// again, and an eighth of all at once.
void GainBounds::make_room(int64_t wanted) {
    if (static_cast<int64_t>(free_.size()) >= wanted || kept_.empty()) return;
    std::erase_if(kept_, [&](int64_t candidate) { return !knows(candidate); });
    std::sort(kept_.begin(), kept_.end(), [&](int64_t a, int64_t b) {
        const double x = latest_[static_cast<size_t>(a)], y = latest_[static_cast<size_t>(b)];
        return x < y || (x == y && a > b);
    });
    const size_t aim = std::max(static_cast<size_t>(wanted), (kept_.size() + free_.size()) / 8);
    size_t gone = 0;
    for (; gone < kept_.size() && free_.size() < aim; ++gone) forget(kept_[gone]);
    kept_.erase(kept_.begin(), kept_.begin() + static_cast<int64_t>(gone));
}

void GainBounds::forget(int64_t candidate) {
    if (!knows(candidate)) return;
    free_.push_back(slots_[candidate]);
    slots_[candidate] = kNone;
}

}  // namespace hnscore

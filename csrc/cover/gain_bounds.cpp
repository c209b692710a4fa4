#include "cover/gain_bounds.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>
#include <numeric>

#include "cover/kernel_code.h"

namespace hnscore {
namespace {

// A float32 sum over a block of points, of up to 512 / 4 terms a lane, of the lanes, and the terms' own roundings, in
// units of 2^-24.
constexpr double kSumDown = 1 - 160 * kUnit;
// Candidates at a time: so many codes are written before they are kept or left.
constexpr int64_t kCodes = 1 << 22, kLargestBatch = 2048, kSmallestBatch = 16;
constexpr int64_t kWorthSorting = 256;  // candidates: what packing the points anew costs is far less

// The exponent of a kernel is too large by at most 2 slack / T and 2^-20 of itself, which matters up to 104.
KernelError error_of(const Coverage& c, double slack) {
    if (c.cosine) return {.absolute = 2.1 * slack};
    return {.relative = std::expm1(2.1 * slack / c.temperature + 105 * 0x1p-20)};
}

}  // namespace

// Of a candidate, as long as it may be the best.
struct GainBounds::Race {
    void begin(Bound& of, uint16_t* place_of_codes, int64_t pitch) {
        bound = &of;
        fallen = 0;
        codes = place_of_codes;
        if (codes != nullptr) return;
        if (own.data() == nullptr) {
            own = Buffer<uint16_t>(pitch);
            std::fill(own.data(), own.data() + pitch, uint16_t{0});
        }
        codes = own.data();
    }
    Bound* bound = nullptr;
    uint16_t* codes = nullptr;  // of all points
    Buffer<uint16_t> own;
    double fallen = 0;
};

struct GainBounds::Room {
    explicit Room(const GainBounds& b)
        : tiles(b.target_, b.c_.rows),
          products(b.target_.fp32.rows * b.points_.width()),
          kernels(b.points_.width()),
          races(static_cast<size_t>(FloatTiles::most(b.target_))),
          points(b.points_.room()) {}

    FloatTiles tiles;
    Buffer<float> products;
    Buffer<uint16_t> kernels;
    std::vector<Race> races;
    std::unique_ptr<PackedPoints::Room> points;
    int64_t complete = 0;  // of its candidates, and their entries
    double entries = 0, looked_at = 0;
};

GainBounds::GainBounds(const Coverage& coverage, const double* weights, const std::vector<double>& latest,
                       int64_t memory, int n_threads, const Poll& poll)
    : c_(coverage),
      given_weights_(weights),
      latest_(latest),
      target_(*coverage.target),
      n_threads_(n_threads),
      slack_(rounded_up(float_slack(coverage.points.dim))),
      rate_(coverage.cosine ? -1 : rounded_down(1 / std::max(coverage.temperature, 0x1p-120))),
      error_(error_of(coverage, slack_)),
      most_(std::clamp(memory / 16 / coverage.points.rows, kSmallestBatch, kLargestBatch)),
      points_(target_, c_.points, memory / 2, n_threads),
      lists_(target_, c_.count, c_.points.rows, points_.pitch(), weights, error_,
             std::max<int64_t>(0, memory - points_.bytes())),
      weights_(weights == nullptr ? 0 : points_.pitch()),
      base_(points_.pitch()),
      floor_(points_.pitch()),
      floor_of_point_(static_cast<size_t>(c_.points.rows), 0.0),
      total_(weights == nullptr ? static_cast<double>(c_.points.rows)
                                : std::accumulate(weights, weights + c_.points.rows, 0.0)),
      expected_(static_cast<double>(c_.points.rows)) {
    std::fill(weights_.data(), weights_.data() + weights_.bytes() / 4, 0.0f);
    points_.pack(poll);
    if (keeps_all() && are_the_points()) compute_half(poll);
}

// Whether the candidates are all rows, and these the points.
bool GainBounds::are_the_points() const {
    const View &a = c_.rows, &b = c_.points;
    const bool same = a.data == b.data && a.row_stride == b.row_stride && a.rows == b.rows;
    return same && c_.count == a.rows;  // candidates are rows without repetition, ascending
}

// The kernels of all candidates, where these are the points: a product serves both of its rows.
void GainBounds::compute_half(const Poll& poll) {
    const int64_t n = c_.count, width = points_.width(), rows = target_.fp32.rows;
    std::vector<std::unique_ptr<Room>> rooms(static_cast<size_t>(n_threads_));
    const double operations = 0.5 * static_cast<double>(points_.depth() * points_.pitch());
    share_out(n, FloatTiles::most(target_), operations, poll, [&](int worker, int64_t first, int64_t last) {
        auto& room = rooms[static_cast<size_t>(worker)];
        if (!room) room = std::make_unique<Room>(*this);
        for (int64_t i = first; i < last; ++i) room->tiles.read(i - first, i);
        for (int64_t block = first / width; block < points_.blocks(); ++block) {
            const int64_t at = block * width, from = std::max(first, at), end = at + width;
            for (int64_t i = first; i < last; ++i) {
                if ((i - first) % rows == 0)
                    room->tiles.multiply((i - first) / rows, points_.panels(block, room->points.get()),
                                         points_.panels_of_block(), room->products.data(), width);
                target_.upper_kernels(room->products.data() + (i - first) % rows * width, width, points_.scales(block),
                                      room->tiles.scale(i - first), slack_, rate_, room->kernels.data());
                std::copy(room->kernels.data() + (from - at), room->kernels.data() + width, lists_.codes_of(i) + from);
            }
            for (int64_t j = std::max(last, at); j < std::min(n, end); ++j)
                for (int64_t i = first; i < last; ++i) lists_.codes_of(j)[i] = lists_.codes_of(i)[j];
        }
    });
    for (int64_t i = 0; i < n; ++i) lists_.keep(i, lists_.codes_of(i));
}

void GainBounds::set_floor(const double* floor) {
    std::copy_n(floor, c_.points.rows, floor_of_point_.data());
    lists_.set_floor(floor);
    sorted_ = placed_ = swept_ = false;
}

void GainBounds::all_known() {
    base_of_point_ = floor_of_point_;
    base_bounds_ = latest_;
    work_ = share_ = 0;
    sorted_ = placed_ = false;
}

// Those points first whose floors have risen most, where that is known and worth it; and the floors in this order.
void GainBounds::place(bool sort, const Poll& poll) {
    if (sorted_ || (placed_ && !sort)) return;
    const int64_t n = c_.points.rows;
    const auto risen = [&](int32_t i) {
        const auto p = static_cast<size_t>(i);
        return (floor_of_point_[p] - base_of_point_[p]) * (given_weights_ == nullptr ? 1 : given_weights_[i]);
    };
    if (sort && !base_of_point_.empty()) {
        std::sort(points_.order(), points_.order() + n, [&](int32_t a, int32_t b) {
            const double x = risen(a), y = risen(b);
            return x > y || (x == y && a < b);
        });
        points_.pack(poll);
        sorted_ = true;
        in_order_ = false;
    }
    placed_ = true;
    std::fill(base_.data() + n, base_.data() + points_.pitch(), 1.0f);  // what pads the last block loses nothing
    std::fill(floor_.data() + n, floor_.data() + points_.pitch(), 1.0f);
    for (int64_t i = 0; i < n; ++i) {
        const auto p = static_cast<size_t>(points_.order()[i]);
        base_[i] = base_of_point_.empty() ? 0 : rounded_up(base_of_point_[p]);
        floor_[i] = std::max(base_[i], rounded_down(floor_of_point_[p]));
        if (given_weights_ != nullptr) weights_[i] = rounded_down(given_weights_[p]);
    }
}

template <class Work>
void GainBounds::share_out(int64_t n, int64_t most, double operations, const Poll& poll, const Work& work) const {
    if (n == 0) return;
    const int threads = useful_threads(n_threads_, n, operations * static_cast<double>(n));
    const int64_t step = std::max<int64_t>(1, std::min(most, ceil_div(n, threads)));
    std::atomic<int64_t> next{0};
    Team team(threads, ceil_div(n, step), poll);
    team.run([&](int worker) {
        for (int64_t i; (i = next.fetch_add(step)) < n;) {
            work(worker, i, std::min(n, i + step));
            if (!team.advance(worker, 1)) return;
        }
    });
}

void GainBounds::update(std::vector<Bound>& bounds, double least, const Poll& poll) {
    std::vector<Bound*> known, others;
    for (Bound& bound : bounds) (knows(bound.candidate) ? known : others).push_back(&bound);
    share_out(static_cast<int64_t>(known.size()), 16, 4 * expected_, poll, [&](int, int64_t first, int64_t last) {
        for (int64_t i = first; i < last; ++i) {
            Bound& b = *known[static_cast<size_t>(i)];
            const PointLists::Gain found = lists_.gain(b.candidate);
            b.gain = std::min(b.gain, found.most);
            b.least = found.least;
        }
    });
    if (others.empty()) return;
    const auto n = static_cast<int64_t>(others.size());
    make_room(n, least, poll);
    const bool listed = has_room(n);
    place(!listed && n >= kWorthSorting, poll);
    const int64_t fit = std::max<int64_t>(1, kCodes / c_.points.rows), rows = target_.fp32.rows;
    const int64_t most = std::min(FloatTiles::most(target_), ceil_div(fit, rows) * rows);
    std::vector<std::unique_ptr<Room>> rooms(static_cast<size_t>(n_threads_));
    share_out(n, most, static_cast<double>(points_.depth() * points_.pitch()), poll,
              [&](int worker, int64_t first, int64_t last) {
                  auto& room = rooms[static_cast<size_t>(worker)];
                  if (!room) room = std::make_unique<Room>(*this);
                  compute(others.data() + first, last - first, least, listed, *room);
              });
    int64_t complete = 0;
    double all = 0, looked_at = 0;
    for (const auto& room : rooms)
        if (room) {
            complete += room->complete;
            all += room->entries;
            looked_at += room->looked_at;
        }
    if (complete > 0) expected_ = all / static_cast<double>(complete);
    if (listed) return;
    work_ += looked_at;
    share_ = looked_at / static_cast<double>(n);
}

// Of at most FloatTiles::most candidates. Those that are ruled out leave their places in the tiles to others.
void GainBounds::compute(Bound* const* some, int64_t count, double least, bool listed, Room& room) {
    const int64_t rows = target_.fp32.rows;
    const bool falls = !listed && !base_of_point_.empty();
    const auto factor = static_cast<float>(1 / ((1 + error_.relative) * (1 + 0x1p-11)) - 4 * kUnit),
               less = rounded_up(error_.absolute);
    std::vector<Race*> races;  // by their place
    const auto place = [&](int64_t i) {
        room.tiles.read(i, c_.candidates[races[static_cast<size_t>(i)]->bound->candidate]);
    };
    for (int64_t i = 0; i < count; ++i) {
        Race& race = room.races[static_cast<size_t>(i)];
        race.begin(*some[i], lists_.codes_of(some[i]->candidate), points_.pitch());
        races.push_back(&race);
        place(i);
    }
    const int64_t width = points_.width();
    for (int64_t block = 0; block < points_.blocks() && !races.empty(); ++block) {
        const float* const panels = points_.panels(block, room.points.get());
        const int32_t* const order = points_.order(block);
        const int64_t at = block * width, present = std::min(width, c_.points.rows - at);
        for (size_t i = 0; i < races.size(); ++i) {
            const auto in_tile = static_cast<int64_t>(i) % rows;
            if (in_tile == 0)
                room.tiles.multiply(static_cast<int64_t>(i) / rows, panels, points_.panels_of_block(),
                                    room.products.data(), width);
            Race& race = *races[i];
            uint16_t* const kernels = in_order_ ? race.codes + at : room.kernels.data();
            target_.upper_kernels(room.products.data() + in_tile * width, width, points_.scales(block),
                                  room.tiles.scale(static_cast<int64_t>(i)), slack_, rate_, kernels);
            if (!in_order_)
                for (int64_t j = 0; j < present; ++j) race.codes[order[j]] = kernels[j];
            if (!falls) continue;
            const float* weights = given_weights_ == nullptr ? nullptr : weights_.data() + at;
            race.fallen += kSumDown * static_cast<double>(target_.fall(kernels, factor, less, base_.data() + at,
                                                                       floor_.data() + at, weights, width));
            // Kernels below the codes' range were taken for the least of these.
            const double reached = base_bounds_[static_cast<size_t>(race.bound->candidate)] - race.fallen;
            race.bound->gain = std::min(race.bound->gain, reached * (1 + 0x1p-40) + total_ * 0x1p-30);
        }
        room.looked_at +=
            static_cast<double>(present * static_cast<int64_t>(races.size())) / static_cast<double>(c_.points.rows);
        const auto is_out = [&](const Race* race) { return race->bound->gain < least; };
        for (size_t i = 0; falls && i < races.size(); ++i) {
            if (!is_out(races[i])) continue;
            while (races.size() > i && is_out(races.back())) races.pop_back();
            if (races.size() <= i) break;
            races[i] = races.back();
            races.pop_back();
            place(static_cast<int64_t>(i));
        }
    }
    for (const Race* race : races) {
        Bound& bound = *race->bound;
        int64_t above;
        const PointLists::Gain found = lists_.gain_of_codes(race->codes, above);
        bound.gain = std::min(bound.gain, found.most);
        bound.least = found.least;
        room.complete += 1;
        room.entries += static_cast<double>(above);
        if (listed || bound.gain >= least) lists_.keep(bound.candidate, race->codes);
    }
}

// For the lists of so many: what the floor has reached goes from all lists, then the lists of those that are far from
// being picked.
void GainBounds::make_room(int64_t candidates, double least, const Poll& poll) {
    if (swept_ || has_room(candidates)) return;
    swept_ = true;
    std::vector<int64_t> kept;
    for (int64_t i = 0; i < c_.count; ++i)
        if (knows(i)) kept.push_back(i);
    share_out(static_cast<int64_t>(kept.size()), 256, 4 * expected_, poll, [&](int, int64_t first, int64_t last) {
        for (int64_t i = first; i < last; ++i) lists_.gain(kept[static_cast<size_t>(i)]);
    });
    if (has_room(candidates)) return;
    for (const int64_t i : kept)
        if (latest_[static_cast<size_t>(i)] < least / 2) forget(i);
}

}  // namespace hnscore

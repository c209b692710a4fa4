#include "cover/cover.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <queue>
#include <unordered_map>
#include <vector>

#include "core/team.h"
#include "cover/gain_bounds.h"

namespace hnscore {
namespace {

struct Candidate {
    double gain;  // or a bound on it
    int64_t index;
    bool operator<(const Candidate& other) const {
        return gain < other.gain || (gain == other.gain && index > other.index);
    }
};
using Queue = std::priority_queue<Candidate>;
constexpr Candidate kNobody{-1, std::numeric_limits<int64_t>::max()};

// Float64 kernels of the few rows that come near to being picked, with the points that they would cover better; 0 with
// the others.
class ExactKernels {
  public:
    ExactKernels(const Coverage& coverage, const double* weights, double* floor, int64_t memory, int n_threads)
        : c_(coverage),
          weights_(weights),
          floor_(floor),
          n_(coverage.points.rows),
          most_(static_cast<size_t>(std::max<int64_t>(kLeast, memory / (8 * n_)))),
          n_threads_(n_threads) {}

    bool has(int64_t index) const { return kept_.contains(index); }
    // Of some rows that it has not, those of `leader` stay. A row's kernels with points of the others are below the
    // floor.
    void add(const std::vector<int64_t>& some, const std::vector<int64_t>& points, int64_t leader, const Poll& poll) {
        if (kept_.size() + some.size() > most_) drop(leader);
        std::vector<int64_t> rows;
        std::vector<double*> kernels;
        for (const int64_t index : some) {
            Kept& kept = kept_[index];
            kept.kernels = Buffer<double>(n_);
            std::fill(kept.kernels.data(), kept.kernels.data() + n_, 0.0);
            rows.push_back(c_.candidates[index]);
            kernels.push_back(kept.kernels.data());
        }
        exact_kernels(c_, rows, points, kernels, n_threads_, poll);
    }
    double gain(int64_t index) {
        Kept& kept = kept_.find(index)->second;
        return kept.gain = sum(kept.kernels.data());
    }
    void raise_floor(int64_t index) {
        const double* k = kept_.find(index)->second.kernels.data();
        for (int64_t i = 0; i < n_; ++i) floor_[i] = std::max(floor_[i], k[i]);
    }
    void forget(int64_t index) { kept_.erase(index); }

  private:
    static constexpr int64_t kLeast = 2 * static_cast<int64_t>(kMostRows);
    struct Kept {
        Buffer<double> kernels;
        double gain = 0;
    };

    // On eight lanes, in an order that depends on nothing but the number of points: equal rows have equal gains, and a
    // gain at a higher floor is no larger, rounding included.
    double sum(const double* k) const {
        constexpr int64_t kLanes = 8;
        double lanes[kLanes] = {};
        const auto term = [&](int64_t i) {
            return (weights_ == nullptr ? 1 : weights_[i]) * std::max(k[i] - floor_[i], 0.0);
        };
        int64_t i = 0;
        for (; i + kLanes <= n_; i += kLanes)
            for (int64_t lane = 0; lane < kLanes; ++lane) lanes[lane] += term(i + lane);
        double total = 0;
        for (const double lane : lanes) total += lane;
        for (; i < n_; ++i) total += term(i);
        return total;
    }
    // The half that came less near.
    void drop(int64_t leader) {
        std::vector<Candidate> order;
        for (const auto& [index, kept] : kept_)
            if (index != leader) order.push_back({kept.gain, index});
        const auto middle = order.begin() + static_cast<int64_t>(order.size() + 1) / 2;
        std::nth_element(order.begin(), middle - 1, order.end());
        for (auto i = order.begin(); i != middle; ++i) kept_.erase(i->index);
    }

    const Coverage c_;
    const double* const weights_;
    double* const floor_;
    const int64_t n_;
    const size_t most_;
    const int n_threads_;
    std::unordered_map<int64_t, Kept> kept_;
};

}  // namespace

struct Cover::State {
    State(const Coverage& coverage, const double* weights, double* floor_, int64_t memory, int n_threads,
          const Poll& poll)
        : c(coverage),
          floor(floor_),
          latest(static_cast<size_t>(c.count), std::numeric_limits<double>::infinity()),
          exact(c, weights, floor, memory / 16, n_threads),
          bounds(c, weights, latest, memory - memory / 16, n_threads, poll) {
        bounds.set_floor(floor);
        left.resize(static_cast<size_t>(c.count));
        std::iota(left.begin(), left.end(), 0);
        all_points.resize(static_cast<size_t>(c.points.rows));
        std::iota(all_points.begin(), all_points.end(), 0);
    }

    Candidate latest_of(int64_t index) const { return {latest[static_cast<size_t>(index)], index}; }
    Queue queue_of(int64_t first) const {
        std::vector<Candidate> some;
        for (size_t i = static_cast<size_t>(first); i < left.size(); ++i) some.push_back(latest_of(left[i]));
        return Queue({}, std::move(some));
    }
    void lower(const double* of_rows) {
        for (const int64_t i : left) {
            double& bound = latest[static_cast<size_t>(i)];
            bound = std::min(bound, of_rows[c.candidates[i]]);
        }
        bounds.all_known();
    }
    void take(int64_t index) {
        exact.raise_floor(index);
        exact.forget(index);
        bounds.forget(index);
        bounds.set_floor(floor);
    }
    // Moves any `count` of those left to their end (Fisher and Yates). Which depends on the seed and the picks alone.
    int64_t draw(int64_t count) {
        const auto n = static_cast<int64_t>(left.size()), first = std::max<int64_t>(0, n - count);
        for (int64_t i = n; i-- > first;)
            std::swap(left[static_cast<size_t>(i)], left[static_cast<size_t>(random(i + 1))]);
        return first;
    }
    // From 0 to n - 1: splitmix64, the remainder of which is off from even by n / 2^64.
    int64_t random(int64_t n) {
        uint64_t x = (seed += 0x9e3779b97f4a7c15u);
        x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
        x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
        return static_cast<int64_t>((x ^ (x >> 31)) % static_cast<uint64_t>(n));
    }

    // The points that some of these candidates would cover better.
    std::vector<int64_t> points_of(const std::vector<int64_t>& some) const {
        if (!std::all_of(some.begin(), some.end(), [&](int64_t i) { return bounds.knows(i); })) return all_points;
        if (some.size() == 1) return bounds.points(some[0]);
        std::vector<bool> wanted(all_points.size());
        for (const int64_t i : some)
            for (const int64_t x : bounds.points(i)) wanted[static_cast<size_t>(x)] = true;
        std::vector<int64_t> points;
        for (const int64_t x : all_points)
            if (wanted[static_cast<size_t>(x)]) points.push_back(x);
        return points;
    }
    int64_t best_of(Queue& stale, int64_t patience, const Poll& poll);
    bool is_too_much(double least, int64_t patience) const;

    const Coverage c;
    double* const floor;
    std::vector<double> latest;  // of each candidate: its last bound, or its last gain
    std::vector<int64_t> left;   // candidates
    std::vector<int64_t> all_points;
    ExactKernels exact;
    GainBounds bounds;
    Counts counts;
    uint64_t seed = 0;
};

// Whether more candidates would have to be looked at, with none of them leaving a list, than are worth it.
bool Cover::State::is_too_much(double least, int64_t patience) const {
    if (patience == 0) return false;
    int64_t race = 0;
    for (int64_t i = 0; i < c.count; ++i) race += latest[static_cast<size_t>(i)] >= least && !bounds.knows(i);
    return !bounds.has_room(race) &&
           bounds.work() + bounds.share() * static_cast<double>(race) > static_cast<double>(patience);
}

// The best of the queue, or none where it is too much. The queue keeps the others, with lower bounds.
int64_t Cover::State::best_of(Queue& stale, int64_t patience, const Poll& poll) {
    constexpr size_t kFirstBatch = 16, kOneByOne = 12;
    const auto largest_batch = static_cast<size_t>(bounds.most());
    Candidate best = kNobody;
    Queue fresh;                   // bounds at the present floor
    std::vector<Candidate> known;  // gains
    double least = 0;              // of the best, as far as is known
    const auto set = [&](const Candidate& candidate) { latest[static_cast<size_t>(candidate.index)] = candidate.gain; };
    const auto settle = [&](int64_t index) {
        const Candidate found{exact.gain(index), index};
        ++counts.gains;
        known.push_back(found);
        set(found);
        if (best < found) best = found;
        least = std::max(least, found.gain);
    };
    const auto leads = [&](const Queue& queue) {
        return !queue.empty() && queue.top().gain >= least && best < queue.top();
    };
    bool too_much = false;
    size_t looked_at = 0, ask_at = 48, at_once = 1;
    for (size_t batch = kFirstBatch; !too_much;) {
        const bool look = leads(stale);
        if (leads(fresh) && (!look || stale.top() < fresh.top())) {
            // One by one at first: the best of them rules the others out. It does not rule out its copies.
            std::vector<int64_t> some;
            for (; some.size() < at_once && leads(fresh) && (!look || stale.top() < fresh.top()); fresh.pop())
                some.push_back(fresh.top().index);
            exact.add(some, points_of(some), best.index, poll);
            for (const int64_t index : some) settle(index);
            if (known.size() >= kOneByOne) at_once = std::min(2 * at_once, kMostRows);
        } else if (look) {
            if (looked_at >= ask_at) {
                too_much = is_too_much(least, patience);
                ask_at = 2 * looked_at;
            }
            std::vector<GainBounds::Bound> some;
            for (; !too_much && some.size() < batch && leads(stale); stale.pop()) {
                if (exact.has(stale.top().index))
                    settle(stale.top().index);
                else
                    some.push_back({stale.top().index, stale.top().gain});
            }
            batch = std::min(2 * batch, largest_batch);
            bounds.update(some, least, poll);
            looked_at += some.size();
            counts.bounds += static_cast<int64_t>(some.size());
            for (const GainBounds::Bound& b : some) {
                fresh.push({b.gain, b.candidate});
                set(fresh.top());
                least = std::max(least, b.least);
            }
        } else {
            break;
        }
    }
    if (too_much) best = kNobody;
    for (const Candidate& found : known)
        if (found.index != best.index) stale.push(found);
    for (; !fresh.empty(); fresh.pop()) stale.push(fresh.top());
    return too_much ? -1 : best.index;
}

Cover::Cover(const Coverage& coverage, const double* weights, double* floor, int64_t memory, int n_threads,
             const Poll& poll)
    : state_(std::make_unique<State>(coverage, weights, floor, memory, n_threads, poll)) {}
Cover::~Cover() = default;
bool Cover::keeps_all() const { return state_->bounds.keeps_all(); }
void Cover::lower(const double* bounds) { state_->lower(bounds); }
Cover::Counts Cover::counts() const { return state_->counts; }

int64_t Cover::pick(const Request& request, int64_t* picks, double* gains, const Poll& poll) {
    State& s = *state_;
    s.seed = request.seed;
    int64_t done = 0;
    const auto share = [&] { return static_cast<double>(done) / static_cast<double>(request.picks); };
    const Poll inner = poll ? [&](double) { poll(share()); } : Poll();
    Queue queue;
    if (request.draw == 0) queue = s.queue_of(0);
    for (; done < request.picks; ++done) {
        if (request.draw > 0) queue = s.queue_of(s.draw(request.draw));
        const int64_t index = s.best_of(queue, request.patience, inner);
        if (index < 0) break;
        gains[done] = s.latest[static_cast<size_t>(index)];
        picks[done] = s.c.candidates[index];
        s.take(index);
        s.latest[static_cast<size_t>(index)] = -1;
        if (request.draw > 0) {
            *std::find(s.left.rbegin(), s.left.rend(), index) = s.left.back();
            s.left.pop_back();
        }
        if (inner) inner(0);
    }
    if (request.draw == 0) std::erase_if(s.left, [&](int64_t i) { return s.latest[static_cast<size_t>(i)] < 0; });
    return done;
}

}  // namespace hnscore

#include "select/greedy.h"

#include <functional>
#include <numeric>

#include "select/losses.h"

namespace hnscore {
namespace {

class Greedy {
  public:
    Greedy(const GreedyProblem& problem, int64_t* picks, double* gains, int n_threads, const Poll& poll)
        : p_(problem),
          picked_(picks),
          gains_(gains),
          n_(problem.rows.rows),
          poll_(poll),
          losses_(problem, n_threads, inner_poll()),
          values_(n_),
          keys_(n_),
          ranked_(n_),
          stamps_(n_),
          picks_(*problem.target, problem.rows.dim,
                 static_cast<int64_t>(problem.covered.size()) + std::max<int64_t>(problem.budget, 1)),
          hidden_(n_),
          blocks_seen_(n_),
          blocks_(*problem.target, problem.rows.dim, picks_.norms.bytes() / 8 / kBlock + 1) {}

    GreedyCounts run() {
        const bool from_mean = p_.farthest && p_.covered.empty();
        losses_.measure(from_mean);
        std::fill(values_.data(), values_.data() + n_, p_.farthest ? kInfinity : 0.0);
        std::fill(stamps_.data(), stamps_.data() + n_, 0);
        std::fill(hidden_.data(), hidden_.data() + n_, 0.0);
        std::fill(blocks_seen_.data(), blocks_seen_.data() + n_, 0);
        alive_ = n_;
        for (const int64_t row : p_.covered) take(row);
        if (from_mean && p_.budget > 0) pick(losses_.nearest_mean(), kInfinity);
        front_size_ = std::max<int64_t>(kLeastFront, n_ / 64);
        while (done_ < p_.budget) {
            if (front_.empty() || front_cost_ > kPatience * sync_cost_) synchronise();
            Candidate best = best_of_front();
            if (best.slot < 0) {
                synchronise();
                best = best_of_front();
            }
            pick(best.row, best.key);
            front_[static_cast<size_t>(best.slot)] = front_.back();
            front_.pop_back();
            look_for_interrupts();
        }
        return losses_.counts;
    }

  private:
    static constexpr int64_t kLeastFront = 256;
    static constexpr double kPatience = 8;
    static constexpr int32_t kTaken = -1;
    static constexpr int64_t kBlock = 32, kWorthwhile = 2;  // picks, and blocks for which a row is read
    static constexpr double kLeastTemperature = 1e-4;  // from which on roundings of cosines are far below 1e-9 of it
    static constexpr size_t kFirstBatch = 32;

    int64_t time() const { return picks_.size; }
    double factor() const { return p_.first_factor + p_.factor_step * static_cast<double>(done_); }
    double key(double base, double value) const { return p_.farthest ? value : base * factor() - p_.penalty * value; }
    double base(int64_t row) const { return p_.base == nullptr ? 0 : p_.base[row]; }

    void take(int64_t row) {
        picks_.append(p_.rows, row);
        stamps_[row] = kTaken;
        --alive_;
        const double* x = picks_.values.data() + (picks_.size - 1) * picks_.pitch;
        double* mean = blocks_.values.data() + blocks_.size * blocks_.pitch;
        const double share = 1 / (picks_.norms[picks_.size - 1] * kBlock);
        if (picks_.size % kBlock == 1) std::fill(mean, mean + blocks_.pitch, 0.0);
        for (int64_t k = 0; k < blocks_.pitch; ++k) mean[k] += x[k] * share;
        if (picks_.size % kBlock == 0) blocks_.norms[blocks_.size++] = 1;
    }
    void pick(int64_t row, double gain) {
        take(row);
        gains_[done_] = gain;
        picked_[done_++] = row;
    }

    double share() const { return static_cast<double>(done_) / static_cast<double>(std::max<int64_t>(p_.budget, 1)); }
    void look_for_interrupts() {
        const auto now = std::chrono::steady_clock::now();
        if (!poll_ || now - last_poll_ < std::chrono::milliseconds(50)) return;
        last_poll_ = now;
        poll_(share());
    }
    Poll inner_poll() const {
        if (!poll_) return {};
        return [this](double) { poll_(share()); };
    }

    // The row to pick, or the bound of what lies outside (slot -1) where nothing in the front comes before that.
    Candidate best_of_front() {
        Candidate best = outside_;
        std::vector<Candidate>& stale = candidates_;
        stale.clear();
        for (size_t i = 0; i < front_.size(); ++i) {
            const Entry& e = front_[i];
            const Candidate c{key(e.base, e.value), e.row, static_cast<int32_t>(i)};
            if (!before(c, best)) continue;
            if (is_current(e.value, e.stamp))
                best = c;
            else
                stale.push_back(c);
        }
        front_cost_ += losses_.costs.look * static_cast<double>(front_.size());
        // The most promising first, about half as many as the last pick took, then more at a time. Where that is most
        // of them, all in the order of their rows, which is the order of memory.
        size_t batch = std::max(kFirstBatch, looked_at_ / 2);
        for (looked_at_ = 0;; batch *= 4) {
            std::erase_if(stale, [&](const Candidate& c) { return !before(c, best); });
            if (stale.empty()) return best;
            if (batch > stale.size() / 2) batch = stale.size();
            const auto rest = stale.begin() + static_cast<int64_t>(batch);
            if (rest != stale.end()) std::nth_element(stale.begin(), rest, stale.end(), before);
            looked_at_ += batch;
            todo_.clear();
            for (auto c = stale.begin(); c != rest; ++c) todo_.push_back(&front_[static_cast<size_t>(c->slot)]);
            losses_.evaluate(todo_.data(), static_cast<int64_t>(batch), picks_, 1, front_cost_);
            for (auto c = stale.begin(); c != rest; ++c) {
                const Entry& e = front_[static_cast<size_t>(c->slot)];
                c->key = key(e.base, e.value);
                if (before(*c, best)) best = *c;
            }
            stale.erase(stale.begin(), rest);
        }
    }

    // A new front: the rows of largest gain. Rows are brought up to date, the most promising first, until it is known.
    void synchronise() {
        if (front_cost_ < sync_cost_) front_size_ = std::min(n_, 2 * front_size_);
        if (front_cost_ > 4 * sync_cost_) front_size_ = std::max(kLeastFront, front_size_ / 2);
        front_cost_ = sync_cost_ = 0;
        for (const Entry& e : front_) keep(e);
        for (int64_t row = 0; row < n_; ++row) keys_[row] = taken(row) ? -kInfinity : bound(row);
        const int64_t size = std::min(front_size_, alive_);
        double level = 0;
        for (int64_t reach = size;;) {
            double* const ranked = ranked_.data();
            std::copy(keys_.data(), keys_.data() + n_, ranked);
            std::nth_element(ranked, ranked + reach - 1, ranked + n_, std::greater<>());
            const double low = ranked[reach - 1];
            std::nth_element(ranked, ranked + size - 1, ranked + reach, std::greater<>());
            level = ranked[size - 1];
            sync_cost_ += losses_.costs.scan * static_cast<double>(n_);
            if (tighten_above(low, level)) continue;
            if (!update_above(low, level)) break;
            reach = std::min(alive_, 4 * reach);
        }
        fill_front(size, level);
    }

    // The entries of rows of keys from `low` on that have something left to be compared with, in `front_` and, in order
    // of stamp, in `todo_`; whether one of those from `level` on is among them.
    template <class IsLeft, class EntryOf>
    bool list_above(double low, double level, int64_t stamps, const IsLeft& is_left, const EntryOf& entry_of) {
        front_.clear();
        bool needed = false;
        std::vector<int64_t> begin(static_cast<size_t>(stamps) + 1, 0);
        for (int64_t row = 0; row < n_; ++row)
            if (keys_[row] >= low && !taken(row) && !is_current(values_[row], stamps_[row]) && is_left(row)) {
                front_.push_back(entry_of(row));
                ++begin[static_cast<size_t>(front_.back().stamp) + 1];
                needed |= keys_[row] >= level;
            }
        std::partial_sum(begin.begin(), begin.end(), begin.begin());
        todo_.resize(needed ? front_.size() : 0);
        if (needed)
            for (Entry& e : front_) todo_[static_cast<size_t>(begin[static_cast<size_t>(e.stamp)]++)] = &e;
        return needed;
    }

    // Brings all rows of keys from `low` on up to date, if one of those from `level` on is not.
    bool update_above(double low, double level) {
        const auto all = [](int64_t) { return true; };
        const auto entry_of = [&](int64_t row) { return Entry{row, base(row), values_[row], stamps_[row]}; };
        if (!list_above(low, level, time(), all, entry_of)) return false;
        losses_.evaluate(todo_.data(), static_cast<int64_t>(todo_.size()), picks_, 1, sync_cost_);
        for (const Entry& e : front_) {
            keep(e);
            keys_[e.row] = bound(e.row);
        }
        return true;
    }

    // Lowers the bounds of the same rows without looking at single picks. The exponential is convex: by Jensen's
    // inequality a block of picks with mean direction d costs at least kBlock exp((x . d / |x| - 1) / temperature).
    bool tighten_above(double low, double level) {
        if (p_.farthest || p_.temperature < kLeastTemperature) return false;
        const auto is_left = [&](int64_t row) { return blocks_.size - blocks_seen_[row] >= kWorthwhile; };
        const auto entry_of = [&](int64_t row) { return Entry{row, 0, hidden_[row], blocks_seen_[row]}; };
        if (!list_above(low, level, blocks_.size, is_left, entry_of)) return false;
        constexpr double kRounding = 1 - 1e-9;
        losses_.evaluate(todo_.data(), static_cast<int64_t>(todo_.size()), blocks_, kBlock * kRounding, sync_cost_);
        for (const Entry& e : front_) {
            hidden_[e.row] = e.value;
            blocks_seen_[e.row] = e.stamp;
            keys_[e.row] = bound(e.row);
        }
        return true;
    }

    double bound(int64_t row) const {
        return taken(row) ? -kInfinity : key(base(row), p_.farthest ? values_[row] : values_[row] + hidden_[row]);
    }

    void fill_front(int64_t size, double level) {
        front_.clear();
        outside_ = kNobody;
        int64_t level_left = size;
        for (int64_t row = 0; row < n_; ++row) level_left -= keys_[row] > level && !taken(row);
        for (int64_t row = 0; row < n_; ++row) {
            if (taken(row)) continue;
            if (keys_[row] > level || (keys_[row] == level && level_left-- > 0)) {
                front_.push_back({row, base(row), values_[row], stamps_[row]});
            } else {
                const Candidate c{keys_[row], row, -1};
                if (before(c, outside_)) outside_ = c;
            }
        }
    }

    void keep(const Entry& e) {
        if (stamps_[e.row] == e.stamp) return;
        values_[e.row] = e.value;
        stamps_[e.row] = e.stamp;
        hidden_[e.row] = 0;
        blocks_seen_[e.row] = static_cast<int32_t>((e.stamp + kBlock - 1) / kBlock);
    }
    // Nothing is nearer than distance 0, and without a penalty nothing is lost.
    bool is_current(double value, int32_t stamp) const {
        return stamp == time() || (p_.farthest ? value == 0 : p_.penalty == 0);
    }
    bool taken(int64_t row) const { return stamps_[row] == kTaken; }

    const GreedyProblem& p_;
    int64_t* const picked_;
    double* const gains_;
    const int64_t n_;
    const Poll poll_;
    Losses losses_;
    std::chrono::steady_clock::time_point last_poll_ = std::chrono::steady_clock::now();
    int64_t done_ = 0;
    Buffer<double> values_, keys_, ranked_;  // of all rows
    Buffer<int32_t> stamps_;
    PackedRows picks_;  // after the covered rows
    // What a row has lost at least since its stamp, to blocks of picks before blocks_seen_; and their mean directions.
    Buffer<double> hidden_;
    Buffer<int32_t> blocks_seen_;
    PackedRows blocks_;
    int64_t alive_ = 0, front_size_ = 0;
    double front_cost_ = 0, sync_cost_ = 0;
    size_t looked_at_ = 0;  // of the front, for the last pick
    std::vector<Entry> front_;
    Candidate outside_ = kNobody;  // what comes first among the rows that are not in the front, by their bounds
    std::vector<Candidate> candidates_;
    std::vector<Entry*> todo_;
};

}  // namespace

GreedyCounts greedy(const GreedyProblem& problem, int64_t* picks, double* gains, int n_threads, const Poll& poll) {
    return Greedy(problem, picks, gains, n_threads, poll).run();
}

}  // namespace hnscore

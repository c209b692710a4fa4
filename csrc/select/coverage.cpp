#include "select/coverage.h"

#include <atomic>
#include <numeric>
#include <queue>
#include <unordered_map>

#include "cpu/rows/rows.h"
#include "select/packed_rows.h"

namespace hnscore {
namespace {

constexpr int64_t kPoints = 512;       // of a block: their sums stay in order
constexpr int64_t kCandidates = 1024;  // packed at a time

// body(point, first, kernels, n): the kernels of a point with candidates first .. first + n - 1, for all points and
// candidates; the blocks of points are shared among the threads.
template <class Body>
void for_kernels(const Coverage& c, int64_t from, int64_t to, int n_threads, const Poll& poll, const Body& body) {
    PackedRows packed(*c.target, c.points.dim, to - from);
    for (int64_t i = from; i < to; ++i) packed.append(c.rows, c.candidates[i]);
    const int64_t n = c.points.rows, blocks = (n + kPoints - 1) / kPoints;
    const double operations = 2.0 * static_cast<double>(n * c.points.dim) * static_cast<double>(packed.size + 4);
    Team team(useful_threads(n_threads, blocks, operations), blocks, poll);
    std::atomic<int64_t> next{0};
    team.run([&](int worker) {
        RowGroup group(*c.target, c.points);
        int64_t rows[RowGroup::kRows];
        double norms[RowGroup::kRows];
        for (int64_t block; (block = next.fetch_add(1)) < blocks;) {
            const int64_t end = std::min(n, (block + 1) * kPoints);
            for (int64_t first = block * kPoints; first < end; first += RowGroup::kRows) {
                const int64_t count = std::min(RowGroup::kRows, end - first);
                std::iota(rows, rows + count, first);
                group.read(rows, count);
                for (int64_t i = 0; i < count; ++i) norms[i] = group.norm(i);
                for (int64_t j = 0; j < packed.size; j += RowGroup::kColumns) {
                    const int64_t width = std::min(RowGroup::kColumns, packed.size - j);
                    group.multiply(packed, j, j + width);
                    for (int64_t i = 0; i < count; ++i) {
                        c.target->cosines(group.products(i), width, norms[i], packed.norms.data() + j);
                        c.target->kernels_of_cosines(group.products(i), width, c.temperature);
                        body(first + i, j, group.products(i), width);
                    }
                }
            }
            if (!team.advance(worker, 1)) return;
        }
    });
}

// A point that a candidate covers better than the floor does.
struct Covered {
    int32_t point;
    double kernel;
};
using Lists = std::vector<std::vector<Covered>>;

// Of what a candidate covers in a block of points no list is kept where it is more: as much as half of them.
constexpr size_t kLongest = kPoints / 2;

// gains of all candidates; where `lists` are given, [block][candidate], with the points that each is made of.
void sum_gains(const Coverage& c, const double* weights, const double* floor, double* gains, int n_threads,
               const Poll& poll, Lists* lists) {
    const int64_t blocks = (c.points.rows + kPoints - 1) / kPoints;
    for (int64_t from = 0; from < c.count; from += kCandidates) {
        const int64_t to = std::min(c.count, from + kCandidates), n = to - from;
        std::vector<double> sums(static_cast<size_t>(blocks * n), 0.0);
        const Poll part = poll ? [&](double share) {
            poll((static_cast<double>(from) + share * static_cast<double>(n)) / static_cast<double>(c.count));
        } : Poll();
        for_kernels(c, from, to, n_threads, part, [&](int64_t x, int64_t first, const double* k, int64_t width) {
            const double weight = weights == nullptr ? 1 : weights[x], least = floor == nullptr ? 0 : floor[x];
            double* sum = sums.data() + x / kPoints * n + first;
            for (int64_t j = 0; j < width; ++j) sum[j] += weight * std::max(k[j] - least, 0.0);
            if (lists == nullptr) return;
            for (int64_t j = 0; j < width; ++j) {
                auto& list = (*lists)[static_cast<size_t>(x / kPoints * c.count + from + first + j)];
                if (k[j] > least && list.size() <= kLongest) list.push_back({static_cast<int32_t>(x), k[j]});
            }
        });
        std::fill(gains + from, gains + to, 0.0);
        for (int64_t b = 0; b < blocks; ++b)
            for (int64_t j = 0; j < n; ++j) gains[from + j] += sums[static_cast<size_t>(b * n + j)];
    }
}

struct Candidate {
    double gain;
    int64_t row;
    bool operator<(const Candidate& other) const {
        return gain < other.gain || (gain == other.gain && row > other.row);
    }
};

// Gains of candidates at the present floor. The points that a candidate covers only become fewer: once they are few,
// they are kept, and its next gain is a sum over them, of the same terms in the same order.
class Gains {
  public:
    Gains(const Coverage& coverage, const double* weights, const double* floor, int n_threads, const Poll& poll)
        : coverage_(coverage), weights_(weights), floor_(floor), n_threads_(n_threads), poll_(poll) {}

    void update(std::vector<Candidate>& candidates) {
        fresh_.clear();
        for (Candidate& c : candidates) {
            const auto kept = kept_.find(c.row);
            if (kept == kept_.end())
                fresh_.push_back(c.row);
            else
                c.gain = sum(kept->second);
        }
        if (fresh_.empty()) return;
        Coverage some = coverage_;
        some.candidates = fresh_.data();
        some.count = static_cast<int64_t>(fresh_.size());
        const size_t blocks = static_cast<size_t>((some.points.rows + kPoints - 1) / kPoints);
        // Not of many candidates at a time: while they are made, lists may be as long as can be.
        const bool few = blocks * fresh_.size() <= kMostEntries / kLongest;
        Lists lists(few && entries_ < kMostEntries ? blocks * fresh_.size() : 0);
        gains_.resize(fresh_.size());
        sum_gains(some, weights_, floor_, gains_.data(), n_threads_, poll_, lists.empty() ? nullptr : &lists);
        size_t at = 0;
        for (Candidate& c : candidates)
            if (at < fresh_.size() && c.row == fresh_[at]) {
                c.gain = gains_[at];
                if (!lists.empty()) keep(c.row, lists, at, blocks);
                ++at;
            }
    }
    void forget(int64_t row) {
        const auto kept = kept_.find(row);
        if (kept == kept_.end()) return;
        entries_ -= kept->second.size();
        kept_.erase(kept);
    }

  private:
    static constexpr size_t kMostEntries = 4 << 20;  // 64 MiB

    double sum(std::vector<Covered>& list) {
        double total = 0, block = 0;
        int64_t last = 0;
        size_t left = 0;
        for (const Covered& e : list) {
            if (e.kernel <= floor_[e.point]) continue;
            if (e.point / kPoints != last) {
                total += block;
                block = 0;
                last = e.point / kPoints;
            }
            block += (weights_ == nullptr ? 1 : weights_[e.point]) * (e.kernel - floor_[e.point]);
            list[left++] = e;
        }
        entries_ -= list.size() - left;
        list.resize(left);
        return total + block;
    }
    void keep(int64_t row, const Lists& lists, size_t at, size_t blocks) {
        size_t count = 0;
        for (size_t b = 0; b < blocks; ++b) {
            const size_t here = lists[b * fresh_.size() + at].size();
            if (here > kLongest) return;
            count += here;
        }
        if (entries_ + count > kMostEntries) return;
        std::vector<Covered>& list = kept_[row];
        list.reserve(count);
        for (size_t b = 0; b < blocks; ++b) {
            const auto& part = lists[b * fresh_.size() + at];
            list.insert(list.end(), part.begin(), part.end());
        }
        entries_ += count;
    }

    const Coverage& coverage_;
    const double *weights_, *floor_;
    const int n_threads_;
    const Poll& poll_;
    std::unordered_map<int64_t, std::vector<Covered>> kept_;
    size_t entries_ = 0;
    std::vector<int64_t> fresh_;
    std::vector<double> gains_;
};

}  // namespace

void coverage_gains(const Coverage& c, const double* weights, const double* floor, double* gains, int n_threads,
                    const Poll& poll) {
    sum_gains(c, weights, floor, gains, n_threads, poll, nullptr);
}

std::vector<int64_t> cover(const Coverage& c, const double* bounds, int64_t budget, const double* weights,
                           double* floor, int n_threads, const Poll& poll) {
    // A single candidate would take as long as reading the points, as a few do.
    constexpr size_t kFirstBatch = 16, kLargestBatch = 512;
    std::vector<int64_t> picks;
    const Poll inner =
        poll ? [&](double) { poll(static_cast<double>(picks.size()) / static_cast<double>(budget)); } : Poll();
    Gains gains(c, weights, floor, n_threads, inner);
    std::priority_queue<Candidate> stale, fresh;
    for (int64_t i = 0; i < c.count; ++i) stale.push({bounds[i], c.candidates[i]});
    std::vector<Candidate> some;
    while (static_cast<int64_t>(picks.size()) < budget) {
        for (size_t batch = kFirstBatch; !stale.empty() && (fresh.empty() || fresh.top() < stale.top());
             batch = std::min(2 * batch, kLargestBatch)) {
            some.clear();
            for (; some.size() < batch && !stale.empty(); stale.pop()) some.push_back(stale.top());
            gains.update(some);
            for (const Candidate& candidate : some) fresh.push(candidate);
        }
        const int64_t row = fresh.top().row;
        fresh.pop();
        for (; !fresh.empty(); fresh.pop()) stale.push(fresh.top());
        picks.push_back(row);
        gains.forget(row);
        Coverage one = c;
        one.candidates = &row;
        one.count = 1;
        raise_floor(one, floor, n_threads, inner);
        if (inner) inner(0);
    }
    return picks;
}

void raise_floor(const Coverage& c, double* floor, int n_threads, const Poll& poll) {
    for (int64_t from = 0; from < c.count; from += kCandidates)
        for_kernels(c, from, std::min(c.count, from + kCandidates), n_threads, poll,
                    [&](int64_t x, int64_t, const double* k, int64_t width) {
                        for (int64_t j = 0; j < width; ++j) floor[x] = std::max(floor[x], k[j]);
                    });
}

}  // namespace hnscore

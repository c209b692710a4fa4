#include "cpu/cascade/plan.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <optional>

namespace hnscore {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
constexpr int64_t kPrefixStep = 32;
// Below this many cycles of dense work a call takes about a millisecond, and a plan does not pay for itself.
constexpr double kLeastWork = 1e7;
// A cascade must promise to cost less than this of dense.
constexpr double kWorthwhile = 0.9;
// Above this share of pairs that count, it pays to add up in the first pass those that surely do.
constexpr double kMany = 2e-3;

// How closely a call is looked at: pairs of a sample of rows and columns, and the rows of each side that a basis is
// learnt from, in how many steps of subspace iteration.
struct Effort {
    int64_t rows, columns, learnt;
    int steps;
};
constexpr Effort effort_for(double dense_cycles) {
    if (dense_cycles < 4e9) return {64, 128, 384, 1};  // half a second on two threads
    if (dense_cycles < 4e10) return {128, 512, 1024, 2};
    return {128, 512, 3072, 3};
}

// Evenly spread rows of a view, scaled as x'; by their offset two samples of large views differ. Bad rows are left to
// the call itself, which names them.
struct Sample {
    Sample(const Format& format, const View& view, int64_t most, double offset, int n_threads)
        : count(std::min(view.rows, most)),
          dim(view.dim),
          rows(static_cast<size_t>(count)),
          facts(static_cast<size_t>(count)),
          values(static_cast<size_t>(count * view.dim)) {
        std::atomic<int64_t> next{0};
        Team team(useful_threads(n_threads, count, 100.0 * static_cast<double>(count * dim)), 0, {});
        team.run([&](int) {
            RowReader reader(format, view);
            for (int64_t i; (i = next.fetch_add(1)) < count;) {
                const auto at = static_cast<size_t>(i);
                rows[at] = static_cast<int64_t>((static_cast<double>(i) + offset) * static_cast<double>(view.rows) /
                                                static_cast<double>(count));
                facts[at] = reader.read(rows[at], values.data() + i * dim);
            }
        });
    }

    int64_t count, dim;
    std::vector<int64_t> rows;
    std::vector<RowFacts> facts;
    std::vector<float> values;
};

double mean(const std::vector<double>& x) {
    double sum = 0;
    for (const double v : x) sum += v;
    return std::max(sum / static_cast<double>(x.size()), 1e-9);
}

class Planner {
  public:
    Planner(const PlanRequest& request, int n_threads)
        : request_(request),
          target_(*request.format.target),
          costs_(target_.screen.costs),
          n_threads_(n_threads),
          dim_(request.rows.dim),
          d_(static_cast<double>(dim_)),
          rows_(static_cast<double>(std::max(request.expected_rows, request.rows.rows))),
          columns_(static_cast<double>(request.columns.rows)),
          dense_(rows_ * columns_ * dense_pair()),
          effort_(effort_for(dense_)) {}

    Choice choose() {
        if (const char* reason = not_looked_at()) return dense(reason);
        look();
        choice_.share = share(0);
        if (is_list(request_.recipe)) dense_ += rows_ * columns_ * choice_.share * exact_pair();
        if (least_cost() > kWorthwhile * dense_ && !request_.forced) return dense("too many pairs count");
        consider_values();
        consider_basis();
        choice_.work = (best_ + spent_) / dense_;
        if (!(best_ < kWorthwhile * dense_) && !request_.forced) return dense("a cascade would cost as much");
        const double error = target_.screen.typical_error;
        plan_->first = weights(1, 1, 1, 1, error);
        if (target_.screen.refines) plan_->second = weights(1, 1, 1, 1, target_.screen.second_error);
        if (prefix_.count > 0) {
            plan_->basis = make_basis(target_, *directions_, prefix_.count, n_threads_);
            if (!plan_->basis && !request_.forced) return dense("no usable basis");
        }
        if (plan_->basis)
            plan_->first = weights(prefix_.row_tail, prefix_.column_tail, prefix_.row_size, prefix_.column_size, error);
        plan_->many = choice_.share > kMany;
        choice_.plan = plan_;
        return choice_;
    }

  private:
    static constexpr int64_t kMostDims = 65536;  // int32 sums of 8-bit products
    static constexpr int64_t kWarm = 128;        // columns that give a top recipe its first threshold

    struct Prefix {
        int64_t count = 0;
        double kept = 0, row_tail = 1, column_tail = 1, row_size = 1, column_size = 1;
    };

    Choice dense(const char* reason) {
        choice_.reason = reason;
        return choice_;
    }

    const char* not_looked_at() {
        if (request_.format.precision != Precision::exact) return "the cascade is for precision exact";
        if (dense_ < kLeastWork && !request_.forced) return "few pairs";
        if (dim_ > kMostDims) return "too many dimensions";
        if (!is_top(request_.recipe) || request_.tau != nullptr) return nullptr;
        const int64_t width = target_.screen.cols;
        plan_->warm = (std::max(kWarm, 4 * request_.k) + width - 1) / width * width;
        if (4 * plan_->warm > request_.columns.rows && !request_.forced) return "few columns for the k";
        return nullptr;
    }

    // Costs, in cycles of one thread. Of a pair in the dense path; of a survivor of all passes; of whatever plan there
    // may be; of reading and coding both sides and starting a top recipe.
    double dense_pair() const { return d_ * costs_.dense_dim + costs_.dense_pair; }
    double exact_pair() const { return d_ * costs_.exact_dim + costs_.exact_pair; }
    double least_cost() const {
        const double dims = target_.screen.has_basis ? static_cast<double>(kPrefixStep) : d_;
        return rows_ * columns_ * (costs_.screen_pair + dims * costs_.screen_dim + choice_.share * exact_pair());
    }
    double setting_up() const {
        return (rows_ + columns_) * d_ * costs_.encode_dim + rows_ * static_cast<double>(plan_->warm) * dense_pair();
    }
    double learning(int64_t count) const {
        const double n = static_cast<double>(count), sampled = static_cast<double>(effort_.learnt);
        return (4 * sampled * d_ * n + 5 * d_ * n * n) * costs_.project_dim + 2 * sampled * d_ * 4 + 3 * n * n * n;
    }

    // All values at low precision, no basis.
    void consider_values() {
        const ScreenKernels& screen = target_.screen;
        kept_by_all_ = share(2 * (screen.refines ? screen.second_error : screen.typical_error));
        if (screen.code_bytes == 4) return;
        choice_.kept_first = choice_.kept_second = kept_by_all_;
        best_ = rows_ * columns_ * (d_ * costs_.screen_dim + costs_.screen_pair + kept_by_all_ * exact_pair()) +
                setting_up();
    }

    // A basis, if what it must leave out is not already above most thresholds, and if learning it can pay.
    void consider_basis() {
        if (!target_.screen.has_basis || dim_ < kPrefixStep || !(request_.forced || promising())) return;
        // The fewer pairs count, the shorter the best prefix.
        const int64_t wanted = choice_.share < 1e-3 ? 96 : effort_.steps == 1 ? 128 : 192;
        const int64_t count = std::min(dim_ / kPrefixStep * kPrefixStep, wanted);
        const double gain = std::min(best_, dense_) - least_cost() - setting_up();
        if (!request_.forced && gain < learning(count)) return;
        directions_ = learn(count);
        spent_ = learning(count);
        const bool refines = target_.screen.refines;
        const double second = d_ * costs_.refine_dim + costs_.refine_pair;
        for (const Prefix& p : prefixes(*directions_)) {
            const double kept = refines ? std::min(p.kept, kept_by_all_) : p.kept;
            const double left = kept * exact_pair() + (refines ? p.kept * second : 0);
            const double n = static_cast<double>(p.count);
            const double cost = rows_ * columns_ * (n * costs_.screen_dim + costs_.screen_pair + left) + setting_up() +
                                (rows_ + columns_) * n * d_ * costs_.project_dim;
            if (cost >= best_) continue;
            best_ = cost;
            choice_.kept_first = p.kept;
            choice_.kept_second = kept;
            prefix_ = p;
        }
    }

    // The weights for which u and w are proportional on typical rows, where their product loses nothing.
    static BoundWeights weights(double row_tail, double column_tail, double row_size, double column_size,
                                double error) {
        const double ratio = row_tail / column_tail;
        return {ratio * column_size / (error * row_size), ratio * error * column_size / row_size};
    }

    // The sampled pairs: products, and the thresholds that they must exceed.
    void look() {
        sample_rows_.emplace(request_.format, request_.rows, effort_.rows, 0.7, n_threads_);
        sample_columns_.emplace(request_.format, request_.columns, effort_.columns, 0.7, n_threads_);
        const Sample &a = *sample_rows_, &b = *sample_columns_;
        products_ = multiply(target_, row_major(a.values, a.count, dim_),
                             transposed(row_major(b.values, b.count, dim_)), n_threads_);
        thresholds_.resize(products_.size());
        norms_.resize(products_.size());
        // After c of n columns the k-th best key stands at the share k / c: on average over those to come, from `warm`
        // on, at ln(n / warm) k / n.
        const double warm = static_cast<double>(plan_->warm);
        const double lag = warm > 0 ? std::max(1.0, std::log(columns_ / warm)) : 1;
        const auto rank = static_cast<int64_t>(std::ceil(lag * static_cast<double>(request_.k * b.count) / columns_));
        std::vector<double> keys(static_cast<size_t>(b.count)), sorted;
        for (int64_t i = 0; i < a.count; ++i) {
            const RowFacts& x = a.facts[static_cast<size_t>(i)];
            const auto base = static_cast<size_t>(i * b.count);
            const auto tau_of = [&](int64_t j) {
                const auto column = b.rows[static_cast<size_t>(j)];
                return std::max(request_.tau ? request_.tau[column] : -HUGE_VAL,
                                request_.kth_value ? request_.kth_value[column] : -HUGE_VAL);
            };
            const double most = request_.ceiling ? request_.ceiling[a.rows[static_cast<size_t>(i)]] : HUGE_VAL;
            double least = request_.floor ? request_.floor[a.rows[static_cast<size_t>(i)]] : -HUGE_VAL;
            const bool gap = request_.recipe == top_gap;
            if (is_top(request_.recipe)) {
                for (int64_t j = 0; j < b.count; ++j)
                    keys[static_cast<size_t>(j)] = static_cast<double>(products_[base + static_cast<size_t>(j)]) /
                                                       (x.m * b.facts[static_cast<size_t>(j)].m) -
                                                   (gap ? tau_of(j) : 0);
                sorted = keys;
                for (double& key : sorted)  // what a rule removes is no k-th best
                    if (key > most) key = -HUGE_VAL;
                const auto at = sorted.begin() + std::clamp<int64_t>(rank - 1, 0, b.count - 1);
                std::nth_element(sorted.begin(), at, sorted.end(), std::greater<>());
                least = *at;
            }
            for (int64_t j = 0; j < b.count; ++j) {
                const RowFacts& t = b.facts[static_cast<size_t>(j)];
                const double floor = least + (gap ? tau_of(j) : 0);
                thresholds_[base + static_cast<size_t>(j)] = static_cast<float>(std::max(tau_of(j), floor) * t.m * x.m);
                norms_[base + static_cast<size_t>(j)] = static_cast<float>(x.norm * t.norm);
            }
        }
    }

    // The share of sampled pairs that come within `error` |x||t| of their threshold, or above it.
    double share(double error) const {
        int64_t n = 0;
        const auto e = static_cast<float>(error);
        for (size_t p = 0; p < products_.size(); ++p) n += products_[p] + e * norms_[p] > thresholds_[p];
        return static_cast<double>(n) / static_cast<double>(products_.size());
    }

    // Directions that take up to the share f of every row leave sqrt(1 - f) of it. With second moments C of unit rows,
    // the leading n hold at most sqrt(n tr(C^2)), and tr(C^2) is the mean squared similarity. No basis helps where the
    // product of the rests already exceeds most thresholds.
    bool promising() const {
        double square = 0;
        int64_t above = 0;
        for (size_t p = 0; p < products_.size(); ++p) {
            const double s = static_cast<double>(products_[p]) / static_cast<double>(norms_[p]);
            square += s * s;
        }
        square /= static_cast<double>(products_.size());
        const double rest = 1 - std::sqrt(std::min(1.0, 128 * square));
        for (size_t p = 0; p < products_.size(); ++p)
            above += rest * static_cast<double>(norms_[p]) > static_cast<double>(thresholds_[p]);
        return 2 * above < static_cast<int64_t>(products_.size());
    }

    Directions learn(int64_t count) const {
        const Sample a(request_.format, request_.rows, effort_.learnt, 0, n_threads_),
            b(request_.format, request_.columns, effort_.learnt, 0, n_threads_);
        return learn_directions(target_, a.values.data(), a.count, b.values.data(), b.count, dim_, count, effort_.steps,
                                n_threads_);
    }

    // What the first pass would leave of the sampled pairs, for each length of the prefix.
    std::vector<Prefix> prefixes(const Directions& directions) const {
        const Sample &a = *sample_rows_, &b = *sample_columns_;
        const int64_t count = directions.count;
        const auto project = [&](const Sample& s) {
            return multiply(target_, row_major(s.values, s.count, dim_),
                            transposed(row_major(directions.vectors, count, dim_)), n_threads_);
        };
        const std::vector<float> x = project(a), t = project(b);
        std::vector<double> row_left, column_left, row_size, column_size;
        const auto start = [](const Sample& s, std::vector<double>& left, std::vector<double>& size) {
            for (const RowFacts& f : s.facts) left.push_back(f.norm * f.norm);
            size.assign(left.size(), 0);
        };
        start(a, row_left, row_size);
        start(b, column_left, column_size);
        std::vector<float> sums(products_.size()), part_x(static_cast<size_t>(a.count * kPrefixStep)),
            part_t(static_cast<size_t>(b.count * kPrefixStep));
        std::vector<Prefix> out;
        const double error = target_.screen.typical_error;
        for (int64_t end = kPrefixStep; end <= count; end += kPrefixStep) {
            const auto take = [&](const std::vector<float>& from, std::vector<float>& to, std::vector<double>& left,
                                  std::vector<double>& size) {
                for (size_t i = 0; i < left.size(); ++i) {
                    const float* values = from.data() + static_cast<int64_t>(i) * count + end - kPrefixStep;
                    double square = 0;
                    for (int64_t k = 0; k < kPrefixStep; ++k) square += static_cast<double>(values[k] * values[k]);
                    std::memcpy(to.data() + static_cast<int64_t>(i) * kPrefixStep, values, kPrefixStep * sizeof(float));
                    left[i] = std::max(0.0, left[i] - square);
                    size[i] += square;
                }
            };
            take(x, part_x, row_left, row_size);
            take(t, part_t, column_left, column_size);
            const std::vector<float> part = multiply(target_, row_major(part_x, a.count, kPrefixStep),
                                                     transposed(row_major(part_t, b.count, kPrefixStep)), n_threads_);
            const auto roots = [](const std::vector<double>& squares) {
                std::vector<double> r;
                for (const double s : squares) r.push_back(std::sqrt(s));
                return r;
            };
            const std::vector<double> row_tail = roots(row_left), column_tail = roots(column_left),
                                      row_root = roots(row_size), column_root = roots(column_size);
            int64_t kept = 0;
            for (int64_t i = 0; i < a.count; ++i) {
                const auto tail = static_cast<float>(row_tail[static_cast<size_t>(i)]);
                const auto size = static_cast<float>(2 * error * row_root[static_cast<size_t>(i)]);
                for (int64_t j = 0; j < b.count; ++j) {
                    const auto p = static_cast<size_t>(i * b.count + j);
                    sums[p] += part[p];
                    kept += sums[p] + tail * static_cast<float>(column_tail[static_cast<size_t>(j)]) +
                                size * static_cast<float>(column_root[static_cast<size_t>(j)]) >
                            thresholds_[p];
                }
            }
            out.push_back({end, static_cast<double>(kept) / static_cast<double>(products_.size()), mean(row_tail),
                           mean(column_tail), mean(row_root), mean(column_root)});
        }
        return out;
    }

    const PlanRequest& request_;
    const Target& target_;
    const ScreenCosts& costs_;
    const int n_threads_;
    const int64_t dim_;
    const double d_, rows_, columns_;
    double dense_;  // with what listed pairs cost
    const Effort effort_;
    std::optional<Sample> sample_rows_, sample_columns_;
    std::vector<float> products_, thresholds_, norms_;
    std::shared_ptr<Plan> plan_ = std::make_shared<Plan>();
    std::optional<Directions> directions_;
    Prefix prefix_;
    double kept_by_all_ = 1, best_ = HUGE_VAL, spent_ = 0;
    Choice choice_{nullptr, "", kNone, kNone, kNone, 1};
};

}  // namespace

Choice choose(const PlanRequest& request, int n_threads) { return Planner(request, n_threads).choose(); }

}  // namespace hnscore

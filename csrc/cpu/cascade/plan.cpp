#include "cpu/cascade/plan.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "cpu/cascade/sampled_pairs.h"

namespace hnscore {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
// Below this many cycles of dense work a call takes about a millisecond, and a plan does not pay for itself.
constexpr double kLeastWork = 1e7;
// A cascade must promise to cost less than this of dense.
constexpr double kWorthwhile = 0.9;
// Above this share of pairs that count, it pays to add up in the first pass those that surely do.
constexpr double kMany = 2e-3;

constexpr Effort effort_for(double dense_cycles) {
    if (dense_cycles < 4e9) return {64, 128, 384, 1};  // half a second on two threads
    if (dense_cycles < 4e10) return {128, 512, 1024, 2};
    return {128, 512, 3072, 3};
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
        pairs_.emplace(request_, effort_, plan_->warm, n_threads_);
        choice_.share = pairs_->share(0);
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
        const double kept = pairs_->share(2 * screen.typical_error);
        kept_by_all_ = screen.refines ? pairs_->share(2 * screen.second_error) : kept;
        if (screen.code_bytes == 4) return;
        choice_.kept_first = choice_.kept_second = kept;
        best_ = rows_ * columns_ * (d_ * costs_.screen_dim + costs_.screen_pair + kept * exact_pair()) + setting_up();
    }

    // A basis, if what it must leave out is not already above most thresholds, and if learning it can pay.
    void consider_basis() {
        if (!target_.screen.has_basis || dim_ < kPrefixStep || !(request_.forced || pairs_->promising())) return;
        // The fewer pairs count, the shorter the best prefix.
        const int64_t wanted = choice_.share < 1e-3 ? 96 : effort_.steps == 1 ? 128 : 192;
        const int64_t count = std::min(dim_ / kPrefixStep * kPrefixStep, wanted);
        const double gain = std::min(best_, dense_) - least_cost() - setting_up();
        if (!request_.forced && gain < learning(count)) return;
        directions_ = learn(count);
        spent_ = learning(count);
        const bool refines = target_.screen.refines;
        const double second = d_ * costs_.refine_dim + costs_.refine_pair;
        for (const Prefix& p : pairs_->prefixes(*directions_)) {
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

    Directions learn(int64_t count) const {
        const Sample a(request_.format, request_.rows, effort_.learnt, 0, n_threads_),
            b(request_.format, request_.columns, effort_.learnt, 0, n_threads_);
        return learn_directions(target_, a.values.data(), a.count, b.values.data(), b.count, dim_, count, effort_.steps,
                                n_threads_);
    }

    const PlanRequest& request_;
    const Target& target_;
    const ScreenCosts& costs_;
    const int n_threads_;
    const int64_t dim_;
    const double d_, rows_, columns_;
    double dense_;  // with what listed pairs cost
    const Effort effort_;
    std::optional<SampledPairs> pairs_;
    std::shared_ptr<Plan> plan_ = std::make_shared<Plan>();
    std::optional<Directions> directions_;
    Prefix prefix_;
    double kept_by_all_ = 1, best_ = HUGE_VAL, spent_ = 0;
    Choice choice_{nullptr, "", kNone, kNone, kNone, 1};
};

}  // namespace

Choice choose(const PlanRequest& request, int n_threads) { return Planner(request, n_threads).choose(); }

}  // namespace hnscore

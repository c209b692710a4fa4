#include "cpu/cascade/sampled_pairs.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <functional>

#include "core/team.h"

namespace hnscore {
namespace {

double mean(const std::vector<double>& x) {
    double sum = 0;
    for (const double v : x) sum += v;
    return std::max(sum / static_cast<double>(x.size()), 1e-9);
}

}  // namespace

Sample::Sample(const Format& format, const View& view, int64_t most, double offset, int n_threads)
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

SampledPairs::SampledPairs(const PlanRequest& request, const Effort& effort, int64_t warm, int n_threads)
    : request_(request),
      target_(*request.format.target),
      dim_(request.rows.dim),
      n_threads_(n_threads),
      a_(request.format, request.rows, effort.rows, 0.7, n_threads),
      b_(request.format, request.columns, effort.columns, 0.7, n_threads) {
    const Sample &a = a_, &b = b_;
    products_ = multiply(target_, row_major(a.values, a.count, dim_), transposed(row_major(b.values, b.count, dim_)),
                         n_threads_);
    thresholds_.resize(products_.size());
    norms_.resize(products_.size());
    // After c of n columns the k-th best key stands at the share k / c: on average over those to come, from `warm`
    // on, at ln(n / warm) k / n.
    const auto columns = static_cast<double>(request.columns.rows);
    const double lag = warm > 0 ? std::max(1.0, std::log(columns / static_cast<double>(warm))) : 1;
    const auto rank = static_cast<int64_t>(std::ceil(lag * static_cast<double>(request_.k * b.count) / columns));
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

double SampledPairs::share(double error) const {
    int64_t n = 0;
    const auto e = static_cast<float>(error);
    for (size_t p = 0; p < products_.size(); ++p) n += products_[p] + e * norms_[p] > thresholds_[p];
    return static_cast<double>(n) / static_cast<double>(products_.size());
}

bool SampledPairs::promising() const {
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

std::vector<Prefix> SampledPairs::prefixes(const Directions& directions) const {
    const Sample &a = a_, &b = b_;
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

}  // namespace hnscore

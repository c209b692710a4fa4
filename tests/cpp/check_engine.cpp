// The engine against a plain float64 loop, for every target this machine supports: a program without Python, so that
// it also runs under an emulator after cross-compiling. Prints one line a target; the exit status is the number of
// failures.
#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

#include "cpu/cascade/plan.h"
#include "cpu/target/dispatch.h"

namespace {

using hnscore::Columns;
using hnscore::Format;
using hnscore::Job;
using hnscore::Precision;
using hnscore::View;

View view(const std::vector<float>& x, int64_t rows, int64_t dim) {
    return {reinterpret_cast<const char*>(x.data()), rows, dim, dim * 4, 4, hnscore::DType::f32, false};
}

struct Case {
    int64_t n, m, dim;
};

int failures = 0;

void expect(bool ok, const hnscore::Target& target, const Case& c, bool cascade, const char* what) {
    if (ok) return;
    ++failures;
    std::printf("FAILED %s %ld x %ld x %ld%s: %s\n", target.name, long(c.n), long(c.m), long(c.dim),
                cascade ? " in a cascade" : "", what);
}

void check(const hnscore::Target& target, const Case& c, bool cascade) {
    std::mt19937 random(static_cast<unsigned>(c.n * 7919 + c.m * 104729 + c.dim));
    std::normal_distribution<float> normal;
    std::vector<float> x(static_cast<size_t>(c.n * c.dim)), t(static_cast<size_t>(c.m * c.dim));
    for (float& v : x) v = normal(random);
    for (float& v : t) v = normal(random);
    for (int64_t k = 0; k < c.dim; ++k) t[static_cast<size_t>(k)] = x[static_cast<size_t>(k)];  // one pair with s = 1
    const auto at = [&](const std::vector<float>& v, int64_t i, int64_t k) {
        return static_cast<double>(v[static_cast<size_t>(i * c.dim + k)]);
    };
    const auto dot = [&](const std::vector<float>& a, int64_t i, const std::vector<float>& b, int64_t j) {
        long double sum = 0;
        for (int64_t k = 0; k < c.dim; ++k) sum += static_cast<long double>(at(a, i, k)) * at(b, j, k);
        return static_cast<double>(sum);
    };
    std::vector<double> s(static_cast<size_t>(c.n * c.m)), tau(static_cast<size_t>(c.m));
    for (int64_t i = 0; i < c.n; ++i)
        for (int64_t j = 0; j < c.m; ++j)
            s[static_cast<size_t>(i * c.m + j)] =
                dot(x, i, t, j) / (std::sqrt(dot(x, i, x, i)) * std::sqrt(dot(t, j, t, j)));
    // Every third threshold lies just below a similarity, so that the exact decision has work to do.
    for (int64_t j = 0; j < c.m; ++j)
        tau[static_cast<size_t>(j)] = j % 3 ? 0.05 : s[static_cast<size_t>(j % c.n * c.m + j)] - 1e-12;

    const Format format{&target, Precision::exact, true};
    const auto columns_for = [&](hnscore::Recipe recipe, const double* thresholds) {
        hnscore::PlanRequest request;
        request.rows = view(x, c.n, c.dim);
        request.columns = view(t, c.m, c.dim);
        request.format = format;
        request.recipe = recipe;
        request.tau = thresholds;
        request.forced = true;
        const auto plan = cascade ? hnscore::choose(request, 2).plan : nullptr;
        return Columns(view(t, c.m, c.dim), format, plan, true, 2, {});
    };
    const Columns columns = columns_for(hnscore::count, tau.data());
    std::vector<double> out(static_cast<size_t>(c.n));
    Job job;
    job.rows = view(x, c.n, c.dim);
    job.columns = &columns;
    job.rules.tau = tau.data();
    job.values = out.data();
    const auto reference = [&](auto weight) {
        bool ok = true;
        for (int64_t i = 0; i < c.n; ++i) {
            double sum = 0;
            for (int64_t j = 0; j < c.m; ++j) {
                const double gap = s[static_cast<size_t>(i * c.m + j)] - tau[static_cast<size_t>(j)];
                if (gap > 0) sum += weight(gap);
            }
            // Four units of float32 rounding a pair, and the rounding of the sum (Job's outputs are float64).
            ok &= std::abs(out[static_cast<size_t>(i)] - sum) <= 4 * 0x1p-24 * static_cast<double>(c.m);
        }
        return ok;
    };
    job.recipe = hnscore::count;
    hnscore::reduce(job, 2, {});
    expect(reference([](double) { return 1.0; }), target, c, cascade, "count");
    job.recipe = hnscore::hinge;
    hnscore::reduce(job, 3, {});
    expect(reference([](double gap) { return gap; }), target, c, cascade, "hinge");

    std::vector<double> best(static_cast<size_t>(c.n));
    std::vector<int64_t> where(static_cast<size_t>(c.n));
    const Columns ranked = columns_for(hnscore::top_similarity, nullptr);
    job.columns = &ranked;
    job.recipe = hnscore::top_similarity;
    job.rules = {};
    job.values = best.data();
    job.entries = where.data();
    hnscore::reduce(job, 2, {});
    bool ok = true;
    for (int64_t i = 0; i < c.n; ++i) {
        int64_t expected = 0;
        for (int64_t j = 1; j < c.m; ++j)
            if (s[static_cast<size_t>(i * c.m + j)] > s[static_cast<size_t>(i * c.m + expected)]) expected = j;
        ok &= where[static_cast<size_t>(i)] == expected;
    }
    expect(ok, target, c, cascade, "top_similarity");
}

// Kernels over the upper triangle of a set, whose columns begin inside it, and overlaps.
void check_set(const hnscore::Target& target, const Case& c) {
    constexpr double kTemperature = 0.3, kRate = 0.7;
    std::mt19937 random(static_cast<unsigned>(c.n + c.dim));
    std::normal_distribution<float> normal;
    std::uniform_real_distribution<double> uniform(0.1, 2);
    const int64_t first = c.n / 3;
    std::vector<float> x(static_cast<size_t>(c.n * c.dim));
    std::vector<double> weight(static_cast<size_t>(c.n)), variance(static_cast<size_t>(c.n));
    for (float& v : x) v = normal(random);
    for (double& w : weight) w = uniform(random);
    for (double& v : variance) v = uniform(random);
    const auto s = [&](int64_t i, int64_t j) {
        double xy = 0, xx = 0, yy = 0;
        for (int64_t k = 0; k < c.dim; ++k) {
            const double a = x[static_cast<size_t>(i * c.dim + k)], b = x[static_cast<size_t>(j * c.dim + k)];
            xy += a * b;
            xx += a * a;
            yy += b * b;
        }
        return xy / std::sqrt(xx * yy);
    };
    const auto w = [&](int64_t i) { return weight[static_cast<size_t>(i)]; };

    const View part{reinterpret_cast<const char*>(x.data() + first * c.dim),
                    c.n - first,
                    c.dim,
                    c.dim * 4,
                    4,
                    hnscore::DType::f32,
                    false};
    const Columns columns(part, {&target, Precision::exact, true}, nullptr, true, 2, {});
    std::vector<double> rows(static_cast<size_t>(c.n)), cols(static_cast<size_t>(c.n - first), 0.0);
    Job job;
    job.rows = view(x, c.n, c.dim);
    job.columns = &columns;
    job.recipe = hnscore::kernel;
    job.temperature = kTemperature;
    job.rules.triangle = true;
    job.rules.first_column = first;
    job.terms.row_weight = weight.data();
    job.terms.col_weight = weight.data() + first;
    job.values = rows.data();
    job.col_values = cols.data();
    hnscore::reduce(job, 2, {});
    bool ok = true;
    for (int64_t i = 0; i < c.n; ++i) {
        double row = 0, col = 0;
        for (int64_t j = first; j < c.n; ++j)
            if (j > i) row += w(j) * std::exp((s(i, j) - 1) / kTemperature);
        for (int64_t j = 0; j < i; ++j) col += w(j) * std::exp((s(i, j) - 1) / kTemperature);
        // A kernel: 4 units of 2^-24 over the temperature and 5 of the exponential; sums: 16 additions and 30.
        const double most = (4 / kTemperature + 55) * 0x1p-24;
        ok &= std::abs(rows[static_cast<size_t>(i)] - row) <= most * row;
        if (i >= first) ok &= std::abs(cols[static_cast<size_t>(i - first)] - col) <= most * col;
    }
    expect(ok, target, c, false, "kernel");

    Job overlap;
    overlap.rows = job.rows;
    overlap.columns = &columns;
    overlap.recipe = hnscore::overlap;
    overlap.terms.rate = kRate;
    overlap.terms.row_variance = variance.data();
    overlap.terms.col_variance = variance.data() + first;
    overlap.values = rows.data();
    hnscore::reduce(overlap, 2, {});
    ok = true;
    for (int64_t i = 0; i < c.n; ++i) {
        double sum = 0;
        for (int64_t j = first; j < c.n; ++j) {
            const double v = variance[static_cast<size_t>(i)] + variance[static_cast<size_t>(j)];
            sum += std::pow(v, -0.5 * static_cast<double>(c.dim)) * std::exp(-kRate * (2 - 2 * s(i, j)) / v);
        }
        // dim / 2 ln v: v within 3 units, ln v (at most 1.7 here) within 4 of itself; the distance within 20, times
        // rate / v; exponents up to dim rounded twice; the sum 55.
        const double most = (0.5 * static_cast<double>(c.dim) * 10 + 20 * kRate / 0.2 + 2.0 * c.dim + 75) * 0x1p-24;
        ok &= std::abs(rows[static_cast<size_t>(i)] - std::log(sum)) <= most;
    }
    expect(ok, target, c, false, "overlap");
}

}  // namespace

int main() {
    for (const std::string& name : hnscore::supported_targets()) {
        hnscore::set_target(name);
        const int before = failures;
        for (const Case& c : {Case{1, 1, 1}, Case{3, 5, 7}, Case{17, 33, 64}, Case{31, 97, 65}, Case{64, 40, 130},
                              Case{15, 600, 300}, Case{40, 20, 1100}})
            for (const bool cascade : {false, true}) check(hnscore::current_target(), c, cascade);
        for (const Case& c : {Case{2, 2, 1}, Case{33, 33, 7}, Case{300, 300, 40}})
            check_set(hnscore::current_target(), c);
        std::printf("%s: %s\n", name.c_str(), failures == before ? "ok" : "FAILED");
    }
    return failures;
}

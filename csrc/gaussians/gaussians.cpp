#include "gaussians/gaussians.h"

#include <algorithm>
#include <cmath>
#include <optional>

namespace hnscore {
namespace {

// The probability that a pair matches and that it does not, each with all its digits however small it is.
struct Match {
    double yes, no;
};

Match match_at(const GaussianJob& job, double distance) {
    const double x = 2 * (job.shift - job.scale * distance), tail = std::exp(-std::abs(x));
    const double larger = 1 / (1 + tail), smaller = tail * larger;
    return x < 0 ? Match{smaller, larger} : Match{larger, smaller};
}

// Operations between two looks for an interrupt within a pair: milliseconds.
constexpr double kLookEvery = 1e7;
constexpr double kDraw = 40;  // operations of a value drawn, where a difference squared and added is one

// The draws of one pair. Differences are taken about the text's mean, text draws then being spread alone: a common
// offset of both means costs no digits. Everything is scaled by a power of two so that float32 fits.
class Sampler {
  public:
    Sampler(const GaussianJob& job, int64_t dim)
        : job_(job),
          kernels_(job.target->gaussians),
          dim_(dim),
          length_(plane_length(dim)),
          zeros_(4 * length_),
          mean_(4 * length_),
          img_deviation_(4 * length_),
          txt_deviation_(4 * length_),
          img_(4 * length_),
          txt_(4 * length_ * job.n_samples),
          distances2_(job.n_samples) {
        std::fill_n(zeros_.data(), 4 * length_, 0.0f);
    }

    // `go_on` is asked now and then; where it says no, the result means nothing.
    template <class GoOn>
    Match match(const double* const values[4], int64_t row, double expected2, GoOn go_on) {
        if (expected2 == 0) return match_at(job_, 0);
        int e;
        std::frexp(std::sqrt(expected2), &e);
        const double unit = std::ldexp(1.0, e), factor = std::ldexp(1.0, -e);
        kernels_.means(values[0], values[2], dim_, factor, mean_.data());
        kernels_.deviations(values[1], dim_, factor, img_deviation_.data());
        kernels_.deviations(values[3], dim_, factor, txt_deviation_.data());
        const int64_t n = job_.n_samples;
        const double samples = static_cast<double>(n), values_of_draw = static_cast<double>(4 * length_);
        double work = 0;
        const auto stop_after = [&](double operations) {
            work += operations;
            if (work < kLookEvery) return false;
            work = 0;
            return !go_on();
        };
        for (int64_t s = 0; s < n; ++s) {
            kernels_.draw(zeros_.data(), txt_deviation_.data(), length_, job_.key.data(), row,
                          static_cast<uint32_t>(2 * s + 1), txt_.data() + s * 4 * length_);
            if (stop_after(kDraw * values_of_draw)) return {};
        }
        Match sum{0, 0};
        for (int64_t s = 0; s < n; ++s) {
            kernels_.draw(mean_.data(), img_deviation_.data(), length_, job_.key.data(), row,
                          static_cast<uint32_t>(2 * s), img_.data());
            kernels_.distances2(img_.data(), txt_.data(), n, 4 * length_, distances2_.data());
            if (stop_after((kDraw + samples) * values_of_draw)) return {};
            for (int64_t t = 0; t < n; ++t) {
                const Match at = match_at(job_, std::sqrt(double{distances2_[t]}) * unit);
                sum.yes += at.yes;
                sum.no += at.no;
            }
        }
        return {sum.yes / (samples * samples), sum.no / (samples * samples)};
    }

  private:
    const GaussianJob& job_;
    const GaussianKernels& kernels_;
    const int64_t dim_, length_;
    Buffer<float> zeros_, mean_, img_deviation_, txt_deviation_, img_, txt_, distances2_;
};

}  // namespace

BadGaussians gaussian_pairs(const GaussianJob& job, int n_threads, const Poll& poll) {
    const int64_t n = job.views[0].rows, dim = job.views[0].dim;
    const double samples = static_cast<double>(job.n_samples);
    const double operations = static_cast<double>(dim) * (50 + samples * (kDraw + samples));  // of a pair
    // Pairs between two looks for an interrupt: few where each takes long.
    const int64_t step = std::clamp<int64_t>(static_cast<int64_t>(1e8 / operations), 1, 16);
    std::array<BadRows, 5> bad;
    const auto any_bad = [&] { return std::any_of(bad.begin(), bad.end(), [](const BadRows& b) { return b.any(); }); };
    std::atomic<int64_t> next{0};
    Team team(useful_threads(n_threads, (n + step - 1) / step, static_cast<double>(n) * operations), n, poll);
    team.run([&](int worker) {
        const Format format{job.target, Precision::exact, false};
        std::array<std::optional<RowReader>, 4> readers;
        for (size_t a = 0; a < 4; ++a) readers[a].emplace(format, job.views[a]);
        std::optional<Sampler> sampler;
        if (job.n_samples > 0) sampler.emplace(job, dim);
        const auto go_on = [&] { return team.advance(worker, 0); };
        while (!any_bad()) {
            const int64_t first = next.fetch_add(step), end = std::min(n, first + step);
            if (first >= n) return;
            for (int64_t i = first; i < end; ++i) {
                const double* values[4];
                bool good = true;
                for (size_t a = 0; a < 4; ++a) {
                    values[a] = readers[a]->finite_values(i);
                    if (values[a] != nullptr) continue;
                    bad[a].add(i, kNonFinite);
                    good = false;
                }
                if (!good) continue;
                const GaussianSums s = job.target->gaussians.sums(values[0], values[1], values[2], values[3], dim);
                if (s.img_negative) bad[1].add(i, kNegative);
                if (s.txt_negative) bad[3].add(i, kNegative);
                if (s.img_negative || s.txt_negative) continue;
                const double expected2 = s.means + s.img_var + s.txt_var;
                if (!std::isfinite(expected2)) {
                    bad[4].add(i, kOutOfRange);
                    continue;
                }
                job.img_var[i] = s.img_var / static_cast<double>(dim);
                job.txt_var[i] = s.txt_var / static_cast<double>(dim);
                job.wasserstein[i] = std::sqrt(s.means + s.deviations);
                const Match m =
                    sampler ? sampler->match(values, i, expected2, go_on) : match_at(job, std::sqrt(expected2));
                job.match[i] = m.yes;
                job.mismatch[i] = m.no;
            }
            if (!team.advance(worker, end - first)) return;
        }
    });
    BadGaussians out;
    for (size_t a = 0; a < 5; ++a) out[a] = bad[a].sorted();
    return out;
}

}  // namespace hnscore

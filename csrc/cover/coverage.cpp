#include "cover/coverage.h"

#include <algorithm>
#include <atomic>
#include <numeric>
#include <vector>

#include "cpu/rows/rows.h"
#include "select/packed_rows.h"

namespace hnscore {
namespace {

constexpr int64_t kPoints = 512;       // of a block: their sums stay in order
constexpr int64_t kCandidates = 1024;  // packed at a time

void to_kernels(const Coverage& c, double* s, int64_t n) {
    if (!c.cosine) return c.target->kernels_of_cosines(s, n, c.temperature);
    for (int64_t j = 0; j < n; ++j) s[j] = std::max(s[j], 0.0);
}

// body(group, first, count): for groups of points or of what stands for them, `n` in all; blocks of these are shared
// among the threads.
template <class Body>
void share_points(const Coverage& c, int64_t n, int64_t candidates, int n_threads, const Poll& poll, const Body& body) {
    const int64_t blocks = (n + kPoints - 1) / kPoints;
    const double operations = 2.0 * static_cast<double>(n * c.points.dim) * static_cast<double>(candidates + 4);
    Team team(useful_threads(n_threads, blocks, operations), blocks, poll);
    std::atomic<int64_t> next{0};
    team.run([&](int worker) {
        RowGroup group(*c.target, c.points);
        for (int64_t block; (block = next.fetch_add(1)) < blocks;) {
            const int64_t end = std::min(n, (block + 1) * kPoints);
            for (int64_t first = block * kPoints; first < end; first += RowGroup::kRows)
                body(group, first, std::min(RowGroup::kRows, end - first));
            if (!team.advance(worker, 1)) return;
        }
    });
}

// body(point, first, kernels, n): the kernels of a point with candidates first .. first + n - 1, for all points and
// candidates.
template <class Body>
void for_kernels(const Coverage& c, int64_t from, int64_t to, int n_threads, const Poll& poll, const Body& body) {
    PackedRows packed(*c.target, c.points.dim, to - from);
    for (int64_t i = from; i < to; ++i) packed.append(c.rows, c.candidates[i]);
    share_points(c, c.points.rows, to - from, n_threads, poll, [&](RowGroup& group, int64_t first, int64_t count) {
        int64_t rows[RowGroup::kRows];
        double norms[RowGroup::kRows];
        std::iota(rows, rows + count, first);
        group.read(rows, count);
        for (int64_t i = 0; i < count; ++i) norms[i] = group.norm(i);
        for (int64_t j = 0; j < packed.size; j += RowGroup::kColumns) {
            const int64_t width = std::min(RowGroup::kColumns, packed.size - j);
            group.multiply(packed, j, j + width);
            for (int64_t i = 0; i < count; ++i) {
                c.target->cosines(group.products(i), width, norms[i], packed.norms.data() + j);
                to_kernels(c, group.products(i), width);
                body(first + i, j, group.products(i), width);
            }
        }
    });
}

}  // namespace

void coverage_gains(const Coverage& c, const double* weights, const double* floor, double* gains, int n_threads,
                    const Poll& poll) {
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
        });
        std::fill(gains + from, gains + to, 0.0);
        for (int64_t b = 0; b < blocks; ++b)
            for (int64_t j = 0; j < n; ++j) gains[from + j] += sums[static_cast<size_t>(b * n + j)];
    }
}

void exact_kernels(const Coverage& c, const std::vector<int64_t>& rows, const std::vector<int64_t>& points,
                   const std::vector<double*>& kernels, int n_threads, const Poll& poll) {
    static_assert(kMostRows <= RowGroup::kColumns);
    const auto n = static_cast<int64_t>(points.size()), n_rows = static_cast<int64_t>(rows.size());
    PackedRows packed(*c.target, c.points.dim, n_rows);
    for (const int64_t row : rows) packed.append(c.rows, row);
    share_points(c, n, n_rows, n_threads, poll, [&](RowGroup& group, int64_t first, int64_t count) {
        group.read(points.data() + first, count);
        group.multiply(packed, 0, n_rows);
        for (int64_t i = 0; i < count; ++i) {
            double* const k = group.products(i);
            c.target->cosines(k, n_rows, group.norm(i), packed.norms.data());
            to_kernels(c, k, n_rows);
            const int64_t point = points[static_cast<size_t>(first + i)];
            for (size_t r = 0; r < rows.size(); ++r) kernels[r][point] = k[r];
        }
    });
}

void raise_floor(const Coverage& c, double* floor, int n_threads, const Poll& poll) {
    for (int64_t from = 0; from < c.count; from += kCandidates)
        for_kernels(c, from, std::min(c.count, from + kCandidates), n_threads, poll,
                    [&](int64_t x, int64_t, const double* k, int64_t width) {
                        for (int64_t j = 0; j < width; ++j) floor[x] = std::max(floor[x], k[j]);
                    });
}

}  // namespace hnscore

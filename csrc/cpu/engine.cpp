// Walks row blocks over column blocks, calls the target's kernels, and decides the pairs they hand on.
//
// Same bits for any thread count and chunking: a row's state is its own; its lanes are added to float64 after every
// column block, whose width is a constant of the target; decided pairs are added apart, in column order.
#include "cpu/engine.h"

#include <algorithm>

#include "cpu/row_block.h"

namespace hnscore {
namespace {

// Rows per block: up to 16 tiles (their packed values then share the second-level cache with a column block), fewer
// where that leaves threads idle at the end, and few where a top recipe keeps many candidates a row.
int tiles_per_block(const Job& job, int threads, int64_t tiles) {
    constexpr int64_t kMost = 16, kCandidateBytes = 64 << 20;
    int64_t most = std::min(kMost, std::max<int64_t>(1, tiles / (4 * threads)));
    if (is_top(job.recipe)) {
        const int64_t row_bytes = (2 * job.k + 64) * static_cast<int64_t>(sizeof(TopRow::Entry));
        most = std::min(most, std::max<int64_t>(1, kCandidateBytes / (row_bytes * job.columns->format.kernels().rows)));
    }
    return static_cast<int>(most);
}

}  // namespace

std::vector<std::pair<int64_t, int>> reduce(const Job& job, int n_threads, const Poll& poll) {
    const Columns& columns = *job.columns;
    const int64_t tile = columns.format.kernels().rows;
    const int64_t n = job.rows.rows, tiles = (n + tile - 1) / tile;
    const double operations =
        static_cast<double>(n) * static_cast<double>(columns.rows + 20) * static_cast<double>(columns.dim);
    const int threads = useful_threads(n_threads, tiles, operations);
    const int block_tiles = tiles_per_block(job, threads, tiles);
    const int64_t block_rows = static_cast<int64_t>(block_tiles) * tile;
    const int64_t panels =
        std::clamp<int64_t>(columns.format.target->block_bytes / columns.panel_bytes, 1, kPanelsPerBlock);

    const ColumnLimits limits(job);
    BadRows bad;
    std::atomic<int64_t> next{0};
    Team team(threads, tiles * columns.panels, poll);
    team.run([&](int worker) {
        RowBlock block(job, limits, block_tiles);
        while (!bad.any()) {
            const int64_t first = next.fetch_add(1) * block_rows;
            if (first >= n) return;
            if (!block.load(first, std::min(block_rows, n - first), bad)) continue;
            for (int64_t p = 0; p < columns.panels; p += panels) {
                const int64_t now = std::min(panels, columns.panels - p);
                block.run(p, now);
                if (!team.advance(worker, now * block.tiles()) || bad.any()) return;
            }
            block.finish();
        }
    });
    return bad.sorted();
}

PairResult pair_similarity(const View& a, const int64_t* a_rows, const View& b, const Format& format, int n_threads,
                           double* out) {
    constexpr int64_t kStep = 256;
    BadRows bad_a, bad_b;
    std::atomic<int64_t> next{0};
    Team team(useful_threads(n_threads, (b.rows + kStep - 1) / kStep, 60.0 * static_cast<double>(b.rows * b.dim)), 0,
              {});
    team.run([&](int) {
        RowReader read_a(format, a), read_b(format, b);
        Buffer<float> scaled(b.dim);
        while (!bad_a.any() && !bad_b.any()) {
            const int64_t first = next.fetch_add(kStep);
            for (int64_t j = first; j < std::min(b.rows, first + kStep); ++j) {
                const int64_t i = a_rows ? a_rows[j] : j;
                const RowFacts fa = read_a.read(i, scaled.data()), fb = read_b.read(j, scaled.data());
                if (fa.bad != kGood) bad_a.add(i, fa.bad);
                if (fb.bad != kGood) bad_b.add(j, fb.bad);
                if (fa.bad == kGood && fb.bad == kGood) out[j] = read_a.exact_similarity(i, read_b, j);
            }
            if (first >= b.rows) return;
        }
    });
    return {bad_a.sorted(), bad_b.sorted()};
}

}  // namespace hnscore

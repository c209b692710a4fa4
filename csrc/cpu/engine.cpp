// Walks row blocks over column blocks, calls the target's kernels, and decides the pairs they hand on.
//
// Same bits for any thread count and chunking: a row's state is its own; its lanes are added to float64 after every
// column block, whose width is a constant of the target; decided pairs are added apart, in column order.
#include "cpu/engine.h"

#include <algorithm>
#include <mutex>
#include <optional>

#include "cpu/dense/row_block.h"

namespace hnscore {
namespace {

// Rows per block: as many tiles as the kernels want, more for a cascade, fewer where that leaves threads idle at the
// end, and few where a top recipe keeps many candidates a row.
int tiles_per_block(const Job& job, int threads, int64_t tiles) {
    constexpr int64_t kCandidateBytes = 64 << 20;
    const Format& format = job.columns->format;
    const int64_t dense =
        std::clamp<int64_t>(format.kernels().most_bytes / format.tile_bytes(), 1, format.kernels().most_tiles);
    if (job.rules.triangle)
        return static_cast<int>(dense);  // whatever the threads: terms of columns are added up by block
    int64_t most = dense;
    if (job.columns->plan)
        most = format.target->screen.by_column ? ScreenedPanels::rows_per_block(*job.columns) / format.kernels().rows
                                               : ScreenedRows::kTiles * ScreenedRows::kBlocks;
    most = std::min(most, std::max<int64_t>(1, tiles / (4 * threads)));
    if (is_top(job.recipe)) {
        const int64_t row_bytes = (2 * job.k + 64) * static_cast<int64_t>(sizeof(TopRow::Entry));
        most = std::min(most, std::max<int64_t>(1, kCandidateBytes / (row_bytes * job.columns->format.kernels().rows)));
    }
    return static_cast<int>(most);
}

// Row blocks that one thread takes in a row. In a triangle the terms of columns are added up apart for each such run,
// of which there are so many at most.
int64_t blocks_per_run(const Job& job, int64_t blocks) {
    constexpr int64_t kRuns = 256;
    return job.rules.triangle ? (blocks + kRuns - 1) / kRuns : 1;
}

}  // namespace

std::vector<std::pair<int64_t, int>> reduce(const Job& job, int n_threads, const Poll& poll) {
    const Columns& columns = *job.columns;
    const Kernels& kernels = columns.format.kernels();
    const int64_t tile = kernels.rows, n = job.rows.rows, tiles = (n + tile - 1) / tile;
    const double operations =
        static_cast<double>(n) * static_cast<double>(columns.rows + 20) * static_cast<double>(columns.dim);
    const int threads = useful_threads(n_threads, tiles, operations);
    const int block_tiles = tiles_per_block(job, threads, tiles);
    const int64_t block_rows = static_cast<int64_t>(block_tiles) * tile;

    const ColumnLimits limits(job);
    std::optional<ScreenLimits> screen;
    if (columns.plan) screen.emplace(job);
    // A block of columns stays in the second-level cache while a block of rows passes by.
    const int64_t dense_step =
        std::clamp<int64_t>(columns.format.target->block_bytes / columns.panel_bytes, 1, kPanelsPerBlock);
    const int64_t dense_panels = columns.dense_panels;
    constexpr int64_t kPanelsAtOnce = 16;  // between two looks for an interrupt
    const bool by_column = columns.format.target->screen.by_column;
    const int64_t screen_step = !screen ? 1 : by_column ? kPanelsAtOnce : ScreenedRows::panels_per_block(columns);
    // Plan::warm is a multiple of both widths; where there are fewer columns, none are left.
    const int64_t screen_from =
        screen ? (dense_panels * kernels.cols + columns.codes.width - 1) / columns.codes.width : 0;
    const int64_t screen_panels = screen ? columns.codes.padded / columns.codes.width : 0;

    const int64_t blocks = (n + block_rows - 1) / block_rows, run_blocks = blocks_per_run(job, blocks);
    const int64_t runs = (blocks + run_blocks - 1) / run_blocks;
    std::vector<double> col_values(static_cast<size_t>(job.rules.triangle ? runs * columns.rows : 0));

    BadRows bad;
    std::mutex guard;
    std::atomic<int64_t> next{0};
    Team team(threads, tiles * (dense_panels + screen_panels - screen_from), poll);
    team.run([&](int worker) {
        RowBlock block(job, limits, screen ? &*screen : nullptr, block_tiles);
        for (int64_t run; !bad.any() && (run = next.fetch_add(1)) < runs;) {
            double* sums = job.rules.triangle ? col_values.data() + run * columns.rows : nullptr;
            for (int64_t b = run * run_blocks; b < std::min(blocks, (run + 1) * run_blocks); ++b) {
                const int64_t first = b * block_rows;
                if (!block.load(first, std::min(block_rows, n - first), bad, sums)) break;
                int64_t from = job.rules.triangle ? block.first_panel() / dense_step * dense_step : 0;
                for (int64_t p = from; p < dense_panels; p += dense_step) {
                    const int64_t now = std::min(dense_step, dense_panels - p);
                    block.run(p, now);
                    if (!team.advance(worker, now * block.tiles()) || bad.any() || !block.report()) return;
                }
                for (int64_t p = screen_from; p < screen_panels; p += screen_step) {
                    const int64_t now = std::min(screen_step, screen_panels - p);
                    block.screen(p, now);
                    if (!team.advance(worker, now * block.tiles()) || bad.any() || !block.report()) return;
                }
                block.finish();
            }
        }
        if (job.survivors == nullptr) return;
        const Survivors mine = block.survivors();
        const std::lock_guard<std::mutex> lock(guard);
        job.survivors->pairs += mine.pairs;
        job.survivors->first += mine.first;
        job.survivors->second += mine.second;
    });
    for (int64_t run = 0; job.rules.triangle && run < runs; ++run)
        for (int64_t j = 0; j < columns.rows; ++j)
            job.col_values[j] += col_values[static_cast<size_t>(run * columns.rows + j)];
    return bad.sorted();
}

PairResult pair_similarity(const View& a, const int64_t* a_rows, const View& b, const Format& format, int n_threads,
                           double* out, const Poll& poll) {
    constexpr int64_t kStep = 256;
    BadRows bad_a, bad_b;
    std::atomic<int64_t> next{0};
    const int64_t steps = (b.rows + kStep - 1) / kStep;
    const double operations = 60.0 * static_cast<double>(b.rows) * static_cast<double>(b.dim);
    Team team(useful_threads(n_threads, steps, operations), steps, poll);
    team.run([&](int worker) {
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
            if (first >= b.rows || !team.advance(worker, 1)) return;
        }
    });
    return {bad_a.sorted(), bad_b.sorted()};
}

}  // namespace hnscore

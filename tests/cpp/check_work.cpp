// The sharing out of the work, and the choice between two kernels: cuda/tiles/work.h and cuda/epilogue/sample.h.
#include "cuda/tiles/work.h"

#include <algorithm>
#include <map>

#include "cuda/epilogue/sample.h"
#include "properties.h"

namespace {

using namespace properties;

// ---- work.h ---------------------------------------------------------------------------------------------------------

void check_items() {
    for_cases("work items", 400, [](Random& random) {
        Problem p{};
        const int chunk = random.of({64, 256, 512, 8192}), tile = random.of({64, 128, 256}),
                  rows = random.of({64, 128, 256});
        if (chunk < tile) return;
        p.n_rows = random.integer(1, 3000);
        p.n_cols = random.integer(1, 12 * chunk);
        if (random.chance(0.3)) p.n_cols = chunk * random.integer(1, 12);
        p.row_blocks = (p.n_rows + rows - 1) / rows;
        p.chunks = (p.n_cols + chunk - 1) / chunk;
        p.chunks_per_item = random.integer(1, p.chunks + 2);
        const int grid = static_cast<int>(random.integer(1, 40));
        std::map<std::pair<int64_t, int64_t>, int> tiles, flushes;  // by row block and first column or chunk
        for (int block = 0; block < grid; ++block)
            for (int i = block; i < item_count(p); i += grid) {
                const Item item = item_at(p, i, chunk);
                expect(item.first_col == item.part * p.chunks_per_item * chunk, "part ", item.part,
                       " starts elsewhere");
                for (int64_t col = item.first_col; col < item.end_col; col += tile) {
                    ++tiles[{item.row_block, col}];
                    if (!ends_chunk(item, static_cast<int>(col) + tile, chunk)) continue;
                    ++flushes[{item.row_block, col / chunk}];
                    const bool last = (col + tile) % chunk == 0 || col + tile >= p.n_cols;
                    expect(last, "columns ", col, " to ", col + tile, " of ", p.n_cols, " end no chunk of ", chunk);
                }
            }
        const auto once = [&](const auto& seen, int64_t columns, int64_t step, const char* what) {
            for (int64_t b = 0; b < p.row_blocks; ++b)
                for (int64_t c = 0; c < columns; c += step)
                    expect(seen.count({b, c}) == 1 && seen.at({b, c}) == 1, what, " ", b, ", ", c, " of ", p.row_blocks,
                           ", ", columns, " is not there once");
            expect(static_cast<int64_t>(seen.size()) == p.row_blocks * ((columns + step - 1) / step), "more than all");
        };
        once(tiles, p.n_cols, tile, "tile");
        once(flushes, p.chunks, 1, "chunk");
    });
    the_case = "the most columns";
    Problem p{};
    p.row_blocks = 1;
    p.n_cols = int64_t{1} << 30;
    p.chunks = p.chunks_per_item = p.n_cols / kChunkColumns;
    expect(item_at(p, 0, kChunkColumns).end_col == p.n_cols, "2^30 columns in one item");
    p.chunks_per_item = 3;
    expect(item_at(p, item_count(p) - 1, kChunkColumns).end_col == p.n_cols, "2^30 columns in many");
}

void check_chosen() {
    the_case = "the chosen kernel";
    expect(is_chosen(Problem{}), "one kernel alone runs");
    for (const int many : {0, 1}) {
        Problem p{};
        p.many = &many;
        const bool if_few = is_chosen(p);
        p.if_many = true;
        expect(is_chosen(p) == (many == 1) && if_few == (many == 0), "many = ", many);
    }
}

// ---- sample.h ---------------------------------------------------------------------------------------------------

// All products are 0, and a pair hits where its column's threshold is below 0 and neither row nor column is far.
void check_sample() {
    for_cases("sample", 300, [](Random& random) {
        const bool small = random.chance(0.6);
        const int64_t n = small ? random.integer(1, 5) : random.integer(60, 900),
                      m = small ? random.integer(1, 140) : random.integer(120, 900);
        const int64_t depth = random.integer(1, 20), pitch = (depth + 7) / 8 * 8;  // of values, 16 bytes
        std::vector<uint16_t> x, t;
        std::vector<RowFacts> rows;
        std::vector<ColumnFacts> columns;
        const double share = random.of({0.0, 0.005, 0.015, 0.02, 0.1}), part = random.uniform();
        for (int64_t i = 0; i < n * pitch; ++i) x.push_back(to_half(1));
        for (int64_t i = 0; i < n; ++i) rows.push_back({1, 1, 1, 0, 1, 0.25f});
        for (int64_t j = 0; j < m; ++j) {
            // 1/4 + 1/8 + 1/8 of a band: hits from depth + 1/2 down.
            const bool few = random.chance(0.5) ? random.chance(share)
                             : small            ? false
                                                : j > part * static_cast<double>(m);
            for (int64_t k = 0; k < pitch; ++k) t.push_back(to_half(few ? 1 : -1));
            columns.push_back(
                {random.chance(0.5) ? 0.25f : static_cast<float>(depth) + (random.chance(0.9) ? 0.4375f : 0.5625f), 0,
                 1, 1});
        }
        if (!small)
            for (int64_t i = 0; i < n; ++i)
                if (i < part * static_cast<double>(n)) rows[static_cast<size_t>(i)].m = 9;
        const float error = 0.125f;
        Problem p{};
        p.n_rows = n, p.n_cols = m, p.depth = depth;
        p.row_values = x.data(), p.col_values = t.data();
        p.row_pitch = p.col_pitch = 2 * pitch;
        p.row_facts = rows.data(), p.col_facts = columns.data();
        p.col_error = &error;
        p.rounding = 0.125f;
        const int64_t sampled_rows = std::min<int64_t>(n, kSampleRows),
                      sampled_cols = std::min<int64_t>(m, kSampleCols);
        int64_t hits = 0;
        for (int64_t a = 0; a < sampled_rows; ++a)
            for (int64_t b = 0; b < sampled_cols; ++b) {
                const auto i = static_cast<size_t>(a * n / sampled_rows), j = static_cast<size_t>(b * m / sampled_cols);
                const float acc = static_cast<float>(depth) * from_half(t[j * static_cast<size_t>(pitch)]);
                hits += acc - rows[i].m * columns[j].tau + 0.5f >= 0;
            }
        const int many = hits > sampled_rows * sampled_cols / p.tuning.few_share;
        int choice = 7, kept = 0;
        launch({1, kSampleThreads, kSampleBytes}, sample_kernel, p, &choice, nullptr);
        expect(choice == many, hits, " hits of ", n, " x ", m, ": choice ", choice);
        choice = 7;
        launch({1, kSampleThreads, kSampleBytes}, sample_kernel, p, &choice, &kept);
        expect(choice == many && kept == 1 + many, "choice ", choice, " kept as ", kept);
        kept = 2 - many;
        launch({1, kSampleThreads, kSampleBytes}, sample_kernel, p, &choice, &kept);
        expect(choice == 1 - many && kept == 2 - many, "a known choice was taken again");
    });
}

}  // namespace

int main() {
    catch_fences();
    check_items();
    check_chosen();
    check_sample();
    return report();
}

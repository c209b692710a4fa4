// The k largest of each row from made-up products: Top of cuda/epilogue/epilogue.h against a sort, over several tiles,
// and over launches that continue a list.
//
// Some products lie: they are far too small for the similarity of their pair. Where the running threshold of a row is
// what it must be, such a pair is never decided, and so does not come into the list.
#include <algorithm>
#include <map>

#include "made_up_problem.h"

namespace {

using namespace properties;

// The columns [from, from + count) as a launch of their own.
struct Part {
    int64_t from, count, list;  // which of the lists they go to
};

// What is left of `made` in one launch.
struct PartProblem {
    Problem p;
    Fenced<ColumnFacts> facts;

    PartProblem(const MadeUp& made, const Part& part)
        : p(made.p), facts((part.count + 255) / 256 * 256, true, {kNever, 0, 0, 0}) {
        std::copy_n(made.p.col_facts + part.from, part.count, facts.data());
        p.col_facts = facts.data();
        p.col_rows += part.from;
        if (p.tau) p.tau += part.from;
        p.n_cols = part.count;
        p.first_col += part.from;
        p.first_value_col += part.from;
    }
};

// Whether a product of column j of a part may lie, and the pair is still never decided.
template <int NB>
bool may_lie(const MadeUp& made, const Part& part, int64_t j, int64_t counted_before, bool first_of_its_kind) {
    if (made.p.tau) return true;  // far below the threshold
    if (counted_before >= made.p.k) return true;
    // A first bound comes from 16 parts of the first tile, in each of which one pair must be left that tells the truth.
    const bool seeded = !made.p.filtered() && made.p.k <= 16;
    return seeded && j < 8 * NB && part.count >= 8 * NB && first_of_its_kind;
}

template <int RM, int NB>
void check_case(Random& random) {
    MadeUp made(random, random.integer(1, 24), random.integer(1, 300));
    Problem& p = made.p;
    p.k = random.of<int64_t>({1, 1, 2, 5, 16, 17, 40});
    p.rounding = static_cast<float>(std::exp2(-random.uniform(7, 13)));
    if (random.chance(0.4)) made.draw_thresholds();
    p.keys_are_gaps = p.tau && random.chance(0.6);
    if (random.chance(0.2)) made.draw_labels();
    if (random.chance(0.2)) made.draw_limits(random.chance(0.7));
    if (random.chance(0.3)) {
        RowFacts& f = made.rows.facts[random.integer(0, p.n_rows - 1)];
        f.norm = f.m = f.m_low = NAN;
    }
    if (random.chance(0.3)) made.cols.facts[random.integer(0, p.n_cols - 1)].norm = NAN;
    if (!made.cosine && random.chance(0.4)) {
        MadeUp::decide_all_of(made.rows.facts[random.integer(0, p.n_rows - 1)]);
        MadeUp::decide_all_of(made.cols.facts[random.integer(0, p.n_cols - 1)]);
    }
    made.make_columns(true, true);

    const int64_t lists = random.integer(1, 2), pitch = made.padded;
    std::vector<Part> parts;
    for (int64_t from = 0; from < p.n_cols; from += parts.back().count)
        parts.push_back({from, std::min(p.n_cols - from, random.integer(1, 200)), random.integer(0, lists - 1)});
    Products products(random, made);
    Fenced<TopEntry> top(lists * p.n_rows * p.k, true, {-HUGE_VAL, kNoColumn});
    p.top = top.data();

    std::map<std::pair<int64_t, int64_t>, std::vector<TopEntry>> expected;  // by list and row
    for (const Part& part : parts) {
        const PartProblem launch(made, part);
        Products own = products;
        own.pitch = pitch;
        for (int64_t i = 0; i < p.n_rows; ++i) {
            std::vector<TopEntry>& list = expected[{part.list, i}];
            int64_t before = static_cast<int64_t>(list.size());  // in earlier tiles
            std::map<std::pair<int64_t, int64_t>, int> told;     // in the part of the tile that a pair belongs to
            for (int64_t j = 0; j < part.count; ++j) {
                const int64_t column = part.from + j;
                if (j % (8 * NB) == 0) before = static_cast<int64_t>(list.size());
                const double m = made.rows.m(i) * made.cols.m(column), band = made.band(i, column);
                const double s = made.similarity(i, column);
                float& acc = own.at(i, j);
                const std::pair<int64_t, int64_t> quarter_and_lane = {j / (2 * NB), j % 8 / 2};
                const bool whole = !std::isnan(m) && !made.cols.bad(column);
                const bool lies =
                    whole && random.chance(0.3) && may_lie<NB>(made, part, j, before, told[quarter_and_lane] > 0);
                const double norms =
                    static_cast<double>(made.rows.facts[i].norm) * static_cast<double>(made.cols.facts[column].norm);
                const double edge = random.chance(0.5) ? -0.99 : random.uniform(-0.99, 0.99);
                acc = static_cast<float>(!whole ? random.uniform(-1, 1) : lies ? -8 * norms : m * s + band * edge);
                if (lies) continue;
                told[quarter_and_lane] += whole;
                if (made.counts(i, column, s))
                    list.push_back({p.keys_are_gaps ? s - made.p.tau[column] : s, made.cols.first + column});
            }
        }
        run_epilogue<gpu::Top<RM, NB>, RM, NB>(launch.p, part.list, own, 8192);
    }
    for (auto& [at, list] : expected) {
        const auto [which, row] = at;
        list.resize(std::max(list.size(), static_cast<size_t>(p.k)), {-HUGE_VAL, kNoColumn});
        std::sort(list.begin(), list.end(), ranks_before);
        TopEntry* came = top.data() + (which * p.n_rows + row) * p.k;
        std::sort(came, came + p.k, ranks_before);
        for (int64_t r = 0; r < p.k; ++r) {
            const TopEntry &a = came[r], &b = list[static_cast<size_t>(r)];
            expect(same(a.key, b.key) && a.column == b.column, "row ", row, " of ", p.n_rows, ", ", p.n_cols,
                   " columns, k ", p.k, ", rank ", r, ": ", a.key, " of column ", a.column, ", not ", b.key,
                   " of column ", b.column);
        }
    }
}

void check_order() {
    the_case = "ranks";
    expect(ranks_before({2, 5}, {1, 0}) && !ranks_before({1, 0}, {2, 5}), "larger keys first");
    expect(ranks_before({1, 3}, {1, 4}) && !ranks_before({1, 4}, {1, 3}), "ties to the lower column");
    expect(!ranks_before({1, 3}, {1, 3}), "none before itself");
    expect(ranks_before({-HUGE_VAL, 9}, {-HUGE_VAL, kNoColumn}), "any column before none");
}

}  // namespace

int main() {
    catch_fences();
    check_order();
    for_cases("top, 16 x 64", 50, check_case<1, 8>);
    for_cases("top, 32 x 128", 12, check_case<2, 16>);
    for_cases("top, 16 x 256", 12, check_case<1, 32>);
    return report();
}

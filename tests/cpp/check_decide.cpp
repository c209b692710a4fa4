// Pairs marked in the registers of a warp, and the decision of each: cuda/epilogue/decide.h.
#include "cuda/epilogue/decide.h"

#include <algorithm>

#include "made_up_problem.h"

namespace {

using namespace properties;

struct Pair {
    int row, column;
    bool operator==(const Pair&) const = default;
};

// Which pairs of a warp's share of a tile are marked.
struct Marks {
    int rows, columns;
    std::vector<bool> bits;
    Marks(int r, int c) : rows(r), columns(c), bits(static_cast<size_t>(r * c)) {}
    bool at(int row, int column) const { return bits[static_cast<size_t>(row * columns + column)]; }
};

Marks any_marks(Random& random, int rows, int columns) {
    Marks marks(rows, columns);
    const double density = random.of({0.0, 0.003, 0.03, 0.3, 0.9, 1.0});
    const int row = random.chance(0.3) ? static_cast<int>(random.integer(0, rows - 1)) : -1;
    for (int i = 0; i < rows; ++i)
        for (int j = 0; j < columns; ++j)
            marks.bits[static_cast<size_t>(i * columns + j)] = random.chance(i == row ? 0.7 : row >= 0 ? 0 : density);
    return marks;
}

// The pairs that each() hands to the groups, in order. `filled`: by add() or by add_at().
template <int RM, int NB>
std::vector<Pair> visited(const Marks& marks, bool at, uint32_t keep, const std::string& what) {
    std::vector<std::vector<Pair>> seen(32);
    std::vector<std::vector<bool>> wanted(32);
    on_warps(1, 0, [&] {
        Hits<RM, NB> hits;
        for (int r = 0; r < RM; ++r)
            for (int n = 0; n < NB; ++n)
                for (int e = 0; e < 4; ++e) {
                    const bool hit = marks.at(own_row(r, e), own_column(n, e));
                    at ? hits.add_at(r, n, e, hit) : hits.add(r, n, e, hit);
                }
        for (int r = 0; r < RM; ++r)
            for (int n = 0; n < NB; ++n)
                for (int e = 0; e < 4; ++e)
                    expect(hits.has(r, n, e) == marks.at(own_row(r, e), own_column(n, e)), what, "has(", r, ", ", n,
                           ", ", e, ")");
        hits.keep(keep);
        hits.each([&](int row, int column, bool want) {
            seen[static_cast<size_t>(lane())].push_back({row, column});
            wanted[static_cast<size_t>(lane())].push_back(want);
        });
    });
    for (int l = 0; l < 32; ++l) {
        const auto own = static_cast<size_t>(l), leader = static_cast<size_t>(l / 8 * 8);
        expect(seen[own] == seen[leader] && wanted[own] == wanted[leader], what, "lane ", l, " differs from its group");
    }
    std::vector<Pair> all;
    for (size_t step = 0; step < seen[0].size(); ++step)
        for (size_t g = 0; g < 32; g += 8) {
            if (wanted[g][step]) all.push_back(seen[g][step]);
            expect(g == 0 || !wanted[g][step] || wanted[g - 8][step], what, "a group with a pair behind one without");
        }
    return all;
}

template <int RM, int NB>
void check_hits() {
    const std::string shape = std::to_string(16 * RM) + " x " + std::to_string(8 * NB) + ": ";
    Marks full(16 * RM, 8 * NB);
    full.bits.assign(full.bits.size(), true);
    the_case = "all pairs of a tile";
    const std::vector<Pair> canonical = visited<RM, NB>(full, false, ~0u, shape);
    expect(canonical.size() == full.bits.size(), shape, canonical.size(), " pairs of ", full.bits.size());
    for_cases("marked pairs", 60, [&](Random& random) {
        const Marks marks = any_marks(random, 16 * RM, 8 * NB);
        // Bit 2 r + h drops or keeps rows 16 r + 8 h + lane / 4, a bit for each lane.
        const bool keeps_all = random.chance(0.5);
        const auto keep = static_cast<uint32_t>(keeps_all ? ~0u : random.bits());
        const auto kept = [&](int row) { return (keep >> (row / 16 * 2 + row % 16 / 8) & 1) != 0; };
        const std::vector<Pair> all = visited<RM, NB>(marks, random.chance(0.5), keep, shape);
        for (int row = 0; row < 16 * RM; ++row) {
            std::vector<Pair> came, right;  // of this row alone
            for (const Pair& pair : all)
                if (pair.row == row) came.push_back(pair);
            for (const Pair& pair : canonical)
                if (pair.row == row && kept(row) && marks.at(row, pair.column)) right.push_back(pair);
            expect(came == right, shape, "row ", row, ": ", came.size(), " pairs, ", right.size(),
                   " are marked; or the order depends on other rows");
        }
    });
}

void check_layout() {
    the_case = "layout";
    std::vector<int> times(16 * 3 * 8 * 5);
    on_warps(1, 0, [&] {
        for (int r = 0; r < 3; ++r)
            for (int n = 0; n < 5; ++n)
                for (int e = 0; e < 4; ++e) ++times[static_cast<size_t>(own_row(r, e) * 40 + own_column(n, e))];
    });
    expect(std::all_of(times.begin(), times.end(), [](int n) { return n == 1; }), "each pair has one lane and place");
    for (int i = 0; i < 32; ++i)
        expect(lowest_bit(0xffffffffu << i) == i && lowest_bit(1u << i) == i, "lowest bit ", i);
}

struct Asked {
    int64_t row, column;
    bool wanted;
};

// Which rows and columns go to decide() where a group has no pair: what each() leaves there.
Asked any_pair(Random& random, const Problem& p) {
    if (random.chance(0.2)) return {random.integer(0, 8), random.of<int64_t>({-2, -2, p.n_cols, p.n_cols + 9}), false};
    return {random.integer(0, p.n_rows - 1), random.integer(0, p.n_cols - 1), true};
}

void check_decisions() {
    int counted = 0, excluded = 0;
    for_cases("decisions", 500, [&](Random& random) {
        MadeUp made(random, random.integer(9, 20), random.integer(1, 20));
        if (random.chance(0.8)) made.draw_thresholds();
        if (random.chance(0.4)) made.draw_labels();
        if (random.chance(0.4)) made.draw_limits(random.chance(0.5));
        if (random.chance(0.4)) made.draw_kth();
        if (random.chance(0.3)) made.rows.facts[random.integer(0, 8)].norm = NAN;
        if (random.chance(0.3)) made.cols.facts[0].norm = NAN;
        if (!made.cosine && random.chance(0.3)) {  // decided pair by pair: float32 has no such scale
            RowFacts& f = made.rows.facts[random.integer(0, 8)];
            f.norm = HUGE_VALF;
            f.m = f.m_low = NAN;
        }
        const Problem& p = made.p;
        for (int round = 0; round < 6; ++round) {
            Asked asked[4];
            for (Asked& a : asked) a = any_pair(random, p);
            const bool exact = random.chance(0.3);
            std::vector<Decision> all(32);
            on_warps(1, 0, [&] {
                const Asked& a = asked[lane() / 8];
                all[static_cast<size_t>(lane())] = decide(p, a.row, a.column, a.wanted, exact);
            });
            for (int l = 0; l < 32; ++l) {
                const Asked& a = asked[l / 8];
                const Decision& d = all[static_cast<size_t>(l)];
                if (!a.wanted) {
                    expect(!d.counts, "no pair, and it counts");
                    continue;
                }
                const double s = made.similarity(a.row, a.column);
                const bool right = made.counts(a.row, a.column, s);
                const double tau = p.tau ? p.tau[a.column] : -HUGE_VAL;
                expect(d.counts == right, "pair ", a.row, ", ", a.column, ", s ", s, ", tau ", tau, ", limit ",
                       made.limit(a.row, a.column), " counts: ", d.counts, ", lane ", l);
                (right ? counted : excluded) += 1;
                if (made.rows.bad(a.row) || made.cols.bad(a.column)) continue;
                const double near = static_cast<double>(made.dim + 24) * 0x1p-50 * static_cast<double>(made.dim + 4);
                expect(exact ? same(d.s, s) : std::fabs(d.s - s) <= near, "s is ", d.s, ", not ", s);
                expect(same(d.gap, d.s - tau), "gap ", d.gap);
            }
        }
    });
    the_case = "decisions";
    expect(counted > 5000 && excluded > 5000, counted, " pairs counted, ", excluded, " did not");
}

// What may be said of a similarity that is known within an error is true for every similarity within it, and nothing
// is left open without an error.
void check_verdicts() {
    for_cases("filters", 300, [](Random& random) {
        MadeUp made(random, 6, 6);
        if (random.chance(0.3)) made.draw_labels();
        if (random.chance(0.6)) made.draw_limits(random.chance(0.5));
        if (random.chance(0.6)) made.draw_kth();
        for (int i = 0; i < 30; ++i) {
            const int64_t row = random.integer(0, 5), column = random.integer(0, 5);
            const double s = made.near_similarity(), error = random.of({0.0, 0x1p-50, 0.01, 0.1});
            const Verdict verdict = verdict_of(made.p, row, column, s, error);
            expect(error > 0 || verdict != Verdict::open, "open without an error");
            for (const double part : {-1.0, -0.5, 0.0, 0.7, 1.0}) {
                const bool right = made.counts(row, column, s + part * error);
                expect(verdict == Verdict::open || right == (verdict == Verdict::counts), "pair ", row, ", ", column,
                       ": ", s, " within ", error, " is ", verdict == Verdict::counts ? "counted" : "excluded");
            }
            const bool beyond = verdict_of(made.p, 6, column, s, 0) == Verdict::excluded &&
                                verdict_of(made.p, row, 6, s, 0) == Verdict::excluded;
            expect(beyond, "a pair beyond the last row or column counts");
        }
    });
}

}  // namespace

int main() {
    catch_fences();
    check_layout();
    check_hits<1, 8>();
    check_hits<2, 16>();
    check_hits<1, 32>();
    check_verdicts();
    check_decisions();
    return report();
}

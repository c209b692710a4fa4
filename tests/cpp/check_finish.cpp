// The second pass on made-up sums and lists: cuda/epilogue/finish.h.
#include "cuda/epilogue/finish.h"

#include <algorithm>

#include "properties.h"
#include "recipes/recipe.h"

namespace {

using namespace properties;

RowFacts fact(float norm) { return {1, 1, norm, 0, norm, 0}; }

// A score as the contract makes it of a sum: -1 and NaN where something was bad.
double score_of(double sum, const Scores& s, bool bad) {
    if (bad) return s.integer ? -1 : NAN;
    const double capped = s.cap > 0 ? std::min(sum, static_cast<double>(s.cap)) : sum;
    return s.integer ? std::floor(capped / s.divisor) : static_cast<double>(static_cast<float>(capped / s.divisor));
}

// Where the scores of a call go: float or int64_t.
struct Out {
    Fenced<float> single;
    Fenced<int64_t> integer;
    explicit Out(int64_t n) : single(n, true, -77), integer(n, true, -77) {}
    void* of(bool integers) const { return integers ? static_cast<void*>(integer.data()) : single.data(); }
    double at(int64_t i, bool integers) const {
        return integers ? static_cast<double>(integer[i]) : static_cast<double>(single[i]);
    }
};

void check_sums() {
    for_cases("sums", 400, [](Random& random) {
        SumFinish p{};
        p.chunks = random.integer(0, 40);
        p.n_rows = random.integer(1, 300);
        p.first_row = random.integer(0, 9);
        const bool integer = random.chance(0.4);
        Fenced<double> partial(p.chunks * p.n_rows, true);
        std::vector<RowFacts> facts;
        for (int64_t i = 0; i < p.n_rows; ++i) facts.push_back(fact(random.chance(0.05) ? NAN : 1));
        for (int64_t c = 0; c < p.chunks; ++c)  // the second half cancels the first, so that the order shows
            for (int64_t i = 0; i < p.n_rows; ++i) {
                double& x = partial[c * p.n_rows + i];
                x = integer ? static_cast<double>(random.integer(0, 8192))
                            : random.sign() * std::exp2(random.uniform(-30, 30));
                if (!integer && c >= (p.chunks + 1) / 2) x = -partial[(c - p.chunks / 2) * p.n_rows + i];
            }
        p.partial = partial.data();
        p.facts = facts.data();
        const int bad = random.chance(0.15) ? 1 : 0;
        const Out out(p.n_rows + p.first_row);
        p.scores = {integer ? 1.0 : random.uniform(1, 5),
                    random.chance(0.4) ? random.integer(1, integer ? 100000 : 20) : 0, integer, out.of(integer), &bad};
        launch({(p.n_rows + kFinishThreads - 1) / kFinishThreads + random.integer(0, 1), kFinishThreads},
               finish_sums_kernel, p);
        for (int64_t i = 0; i < p.n_rows; ++i) {
            double sum = 0;
            for (int64_t c = 0; c < p.chunks; ++c) sum += partial[c * p.n_rows + i];
            const double right = score_of(sum, p.scores, bad != 0 || std::isnan(facts[static_cast<size_t>(i)].norm));
            const double came = out.at(p.first_row + i, integer);
            expect(same(came, right), "row ", i, ", ", p.chunks, " chunks, cap ", p.scores.cap, ": ", came, ", not ",
                   right);
        }
        for (int64_t i = 0; i < p.first_row; ++i)
            expect(out.at(i, integer) == -77, "a row before the first was written");
    });
}

void check_clear() {
    for_cases("clear", 30, [](Random& random) {
        const int64_t n = random.integer(1, 600);
        Fenced<TopEntry> entries(n, true, {3, 3});
        launch({(n + kFinishThreads - 1) / kFinishThreads, kFinishThreads}, clear_top_kernel, entries.data(), n);
        for (const TopEntry* e = entries.data(); e < entries.data() + n; ++e)
            expect(e->key == -HUGE_VAL && e->column == kNoColumn, "an entry is left");
    });
}

// Ranks of entries: larger keys first, ties to the lower column, nothing last.
bool before(const TopEntry& a, const TopEntry& b) { return a.key != b.key ? a.key > b.key : a.column < b.column; }

void check_top() {
    for_cases("top", 200, [](Random& random) {
        TopFinish p{};
        p.parts = random.integer(1, 4);
        p.n_rows = random.integer(1, 20);
        p.first_row = random.integer(0, 5);
        p.k = random.of<int64_t>({1, 2, 7, 33, 70});
        const bool ties = random.chance(0.5), few = random.chance(0.5), infinite = random.chance(0.2);
        Fenced<TopEntry> top(p.parts * p.n_rows * p.k, true, {-HUGE_VAL, kNoColumn});
        std::vector<RowFacts> facts;
        std::vector<std::vector<TopEntry>> lists(static_cast<size_t>(p.n_rows));
        for (int64_t i = 0; i < p.n_rows; ++i) {
            facts.push_back(fact(random.chance(0.1) ? NAN : 1));
            std::vector<TopEntry>& list = lists[static_cast<size_t>(i)];
            int64_t column = 0;
            for (int64_t part = 0; part < p.parts; ++part)
                for (int64_t r = 0; r < p.k; ++r) {
                    if (random.chance(few ? 0.8 : 0.1)) continue;
                    column += random.integer(1, 3);
                    double key = ties ? static_cast<double>(random.integer(-2, 2)) : random.uniform(-1, 1);
                    if (infinite && random.chance(0.2)) key = random.sign() * HUGE_VAL;
                    list.push_back({key, column});
                    top[(part * p.n_rows + i) * p.k + r] = list.back();
                }
            std::sort(list.begin(), list.end(), before);
        }
        const int64_t n = p.n_rows + p.first_row;
        Fenced<double> values(n * p.k, true, -77), kth(n, true, -77), sums(n, true, -77);
        Fenced<int64_t> indices(n * p.k, true, -77), kth_row(n, true, -77);
        std::vector<double> rank_weights;
        for (int64_t r = 0; r < p.k; ++r) rank_weights.push_back(random.uniform(0, 1));
        const Out out(n);
        const int bad_columns = random.chance(0.1) ? 1 : 0;
        const bool all = random.chance(0.6), integer = random.chance(0.3);
        p.top = top.data(), p.facts = facts.data();
        if (all || random.chance(0.5)) p.values = values.data();
        if (all || random.chance(0.5)) p.indices = indices.data();
        if (all || random.chance(0.5)) p.kth_value = kth.data(), p.kth_row = kth_row.data();
        if (all || random.chance(0.5)) p.sums = sums.data(), p.rank_weights = rank_weights.data();
        p.weight = integer ? count : random.of({count, hinge, squared_hinge, similarity, hnscore::exp});
        p.temperature = random.uniform(0.3, 2);
        p.scores = {random.uniform(1, 3), integer && random.chance(0.5) ? 4 : 0, integer,
                    all || random.chance(0.7) ? out.of(integer) : nullptr, &bad_columns};
        launch({(p.n_rows * 32 + kFinishThreads - 1) / kFinishThreads + random.integer(0, 1), kFinishThreads},
               finish_top_kernel, p);

        for (int64_t i = 0; i < p.n_rows; ++i) {
            const std::vector<TopEntry>& list = lists[static_cast<size_t>(i)];
            const bool bad = std::isnan(facts[static_cast<size_t>(i)].norm);
            const int64_t row = p.first_row + i;
            const std::string what = "row " + std::to_string(i) + ", k " + std::to_string(p.k) + ": ";
            double ranked = 0, weighed = 0;
            for (int64_t r = 0; r < p.k; ++r) {
                const bool found = r < static_cast<int64_t>(list.size());
                const TopEntry entry = found ? list[static_cast<size_t>(r)] : TopEntry{-HUGE_VAL, kNoColumn};
                const double key = bad ? NAN : entry.key;
                if (p.values)
                    expect(same(values[row * p.k + r], key), what, "value ", r, " is ", values[row * p.k + r], ", not ",
                           key);
                const int64_t column = found ? entry.column : -1;
                if (p.indices)
                    expect(indices[row * p.k + r] == column, what, "index ", r, " is ", indices[row * p.k + r],
                           ", not ", column);
                if (p.kth_value && r == p.k - 1) {
                    expect(same(kth[row], key), what, "k-th value ", kth[row], ", not ", key);
                    expect(kth_row[row] == entry.column, what, "k-th row ", kth_row[row], ", not ", entry.column);
                }
                if (!found) continue;
                ranked += rank_weights[static_cast<size_t>(r)] * entry.key;
                weighed += weight_of(p.weight, entry.key, entry.key, p.temperature);
            }
            if (p.sums) expect(same(sums[row], bad ? NAN : ranked), what, "ranked sum ", sums[row], ", not ", ranked);
            const double right = score_of(weighed, p.scores, bad || bad_columns != 0);
            if (p.scores.out)
                expect(same(out.at(row, integer), right), what, "score ", out.at(row, integer), ", not ", right);
        }
        for (int64_t i = 0; i < p.first_row; ++i)
            expect(out.at(i, integer) == -77, "a row before the first was written");
    });
}

}  // namespace

int main() {
    catch_fences();
    check_sums();
    check_clear();
    check_top();
    return report();
}

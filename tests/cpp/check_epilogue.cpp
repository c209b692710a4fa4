// What becomes of made-up products: the sums and the screen of cuda/epilogue/epilogue.h, without a tile loop.
//
// Products and values are drawn apart, so that the sum of a row tells which of the two a pair was taken from: those
// beyond the band must be taken from the products, those within it must be decided from the values.
#include "cuda/epilogue/epilogue.h"

#include "made_up_problem.h"

namespace {

using namespace properties;

enum class Mode { rounded, accurate, screen };  // no pair, those of the band, all that may count are decided

// g(gap), and how it grows with it.
struct Weighed {
    double w, slope;
};
Weighed weigh(const Problem& p, double s, double gap) {
    if (p.weight == count) return {1, 0};
    if (p.weight == hinge) return {gap, 1};
    if (p.weight == squared_hinge) return {gap * gap, 2 * std::fabs(gap)};
    if (p.weight == similarity) return {s, 1};
    const double w = std::exp(gap / p.temperature);
    return {w > std::numeric_limits<float>::max() ? HUGE_VAL : w, w / p.temperature};
}

// A row's sum, and how far the computed one may be from it.
struct Expected {
    double sum = 0, off = 0;

    // plain_dot is off by (dim + 24) 2^-52 |x| |t|, at most 2^-36 here.
    void decided(const MadeUp& made, int64_t i, int64_t j) {
        const double s = made.similarity(i, j), gap = s - (made.p.tau ? made.p.tau[j] : -HUGE_VAL);
        if (!made.counts(i, j, s)) return;
        const Weighed g = weigh(made.p, s, gap);
        sum += g.w;
        if (made.p.weight != count) off += g.slope * 0x1p-35 + std::fabs(g.w) * 0x1p-45;
    }
    // float32 rounds gap' (before it is small unless the threshold has two parts), the weight, and each of at most 64
    // sums of a lane; exp also rounds its argument.
    void from_product(const MadeUp& made, int64_t i, int64_t j, double acc, bool two_parts) {
        const double m = made.rows.m(i) * made.cols.m(j), threshold = made.p.tau ? made.p.tau[j] : 0;
        const double s = acc / m, gap = s - threshold;
        const Weighed g = weigh(made.p, s, gap);
        sum += g.w;
        if (made.p.weight == count) return;
        const double own = (made.p.weight == similarity ? std::fabs(s) : std::fabs(gap)) * 0x1p-22;
        off += g.slope * (own + std::fabs(threshold) * (two_parts ? 0x1p-44 : 0x1p-22)) + std::fabs(g.w) * 0x1p-17;
    }
};

// Products well inside or well outside: of the threshold, of the limit, and of the bands of both.
float product_for(const MadeUp& made, int64_t i, int64_t j, Mode mode, bool two_parts, bool near) {
    Random& random = made.random;
    const double m = made.rows.m(i) * made.cols.m(j), band = mode == Mode::rounded ? 0 : made.band(i, j);
    if (std::isnan(m) || std::isnan(band) || made.cols.bad(j))
        return static_cast<float>(random.uniform(-0x1p20, 0x1p20));
    const double limit = made.limit(i, j), least = m * made.least(j);
    for (;;) {
        const double middle = limit < HUGE_VAL && random.chance(0.4) ? m * limit : std::isinf(least) ? 0 : least;
        const double step = near && band > 0 ? band * random.uniform(-3, 3) : m * random.uniform(-2, 2);
        const auto acc = static_cast<float>(middle + step);
        const auto clear = [&](double threshold, bool twice) {
            const double gap = std::fabs(static_cast<double>(acc) - threshold);
            return std::isinf(threshold) ||
                   std::fabs(gap - band) > 0.02 * band + (twice ? 0x1p-40 : 0x1p-19) * std::fabs(threshold);
        };
        if (clear(least, two_parts) && clear(m * limit, false)) return acc;
    }
}

// How a pair comes into the sum of its row.
void add_expected(Expected& expected, const MadeUp& made, int64_t i, int64_t j, double acc, Mode mode, bool two_parts) {
    if (made.excluded(i, j) || made.cols.bad(j)) return;
    const double m = made.rows.m(i) * made.cols.m(j), band = mode == Mode::rounded ? 0 : made.band(i, j);
    const bool always = std::isnan(m);
    const double over = acc - m * made.limit(i, j);
    const double gap = acc - m * made.least(j);
    if (mode == Mode::screen) {
        if (always || gap > -band) expected.decided(made, i, j);
    } else if (always || (std::fabs(over) <= band && mode == Mode::accurate)) {
        expected.decided(made, i, j);
    } else if (over < 0 && gap > band) {
        expected.from_product(made, i, j, acc, two_parts);
    } else if (over < 0 && gap > -band && mode == Mode::accurate) {
        expected.decided(made, i, j);
    }
}

template <class Epilogue, int RM, int NB>
void check_sums(const std::string& name, Recipe weight, Mode mode, bool two_parts) {
    const int chunk = 16 * NB;  // two tiles
    for_cases(name.c_str(), 8, [&](Random& random) {
        MadeUp made(random, random.integer(1, 70), random.integer(1, 150));
        made.p.weight = weight;
        made.p.temperature = random.uniform(0.5, 2);
        made.p.rounding = static_cast<float>(std::exp2(-random.uniform(7, 13)));
        if (two_parts && random.chance(0.6)) {  // so narrow that a threshold rounded once would show
            made.p.rounding = 0x1p-17f;
            for (int64_t i = 0; i < made.p.n_rows; ++i) made.rows.facts[i].error = 0;
            for (int64_t j = 0; j < made.p.n_cols; ++j) made.cols.facts[j].error = 0;
        }
        const bool needs_gap = weight != count && weight != similarity;
        if (needs_gap || random.chance(0.85)) made.draw_thresholds();
        if (random.chance(0.35)) made.draw_labels();
        if (random.chance(0.35)) made.draw_limits(false);
        if (mode == Mode::screen && random.chance(0.5)) made.draw_kth();
        const int64_t odd_row = random.integer(0, made.p.n_rows - 1), odd_col = random.integer(0, made.p.n_cols - 1);
        if (random.chance(0.3)) made.rows.facts[odd_row].norm = made.rows.facts[odd_row].m = NAN;
        if (random.chance(0.3)) made.cols.facts[odd_col].norm = NAN;
        if (!made.cosine && mode != Mode::rounded && random.chance(0.5)) {
            MadeUp::decide_all_of(made.rows.facts[random.integer(0, made.p.n_rows - 1)]);
            MadeUp::decide_all_of(made.cols.facts[random.integer(0, made.p.n_cols - 1)]);
        }
        made.make_columns(false, mode != Mode::rounded);
        Problem& p = made.p;
        Products products(random, made);
        const double near = random.of({0.0, 0.9, 1.0, 1.0});
        for (int64_t i = 0; i < p.n_rows; ++i)
            for (int64_t j = 0; j < p.n_cols; ++j)
                products.at(i, j) = product_for(made, i, j, mode, two_parts, random.chance(near));
        const int64_t chunks = (p.n_cols + chunk - 1) / chunk;
        constexpr double kUnwritten = -12345;
        Fenced<double> partial(chunks * p.n_rows, true, kUnwritten), again(chunks * p.n_rows, true, kUnwritten);
        p.partial = partial.data();
        run_epilogue<Epilogue, RM, NB>(p, 0, products, chunk);

        for (int64_t i = 0; i < p.n_rows; ++i)
            for (int64_t c = 0; c < chunks && !made.rows.bad(i); ++c) {
                Expected expected;
                for (int64_t j = c * chunk; j < std::min(p.n_cols, (c + 1) * chunk); ++j)
                    add_expected(expected, made, i, j, static_cast<double>(products.at(i, j)), mode, two_parts);
                const double came = partial[c * p.n_rows + i];
                const bool right = came == expected.sum || std::fabs(came - expected.sum) <= expected.off;
                expect(right, "row ", i, ", chunk ", c, " of ", p.n_rows, " x ", p.n_cols, ", sum ", came, ", not ",
                       expected.sum, " within ", expected.off);
            }

        // The bits of a row depend on its own products alone.
        const int64_t kept = random.integer(0, p.n_rows - 1);
        for (int64_t i = 0; i < p.n_rows; ++i)
            for (int64_t j = 0; j < p.n_cols && i != kept; ++j)
                products.at(i, j) = product_for(made, i, j, mode, two_parts, true);
        p.partial = again.data();
        run_epilogue<Epilogue, RM, NB>(p, 0, products, chunk);
        for (int64_t c = 0; c < chunks; ++c)
            expect(same(partial[c * p.n_rows + kept], again[c * p.n_rows + kept]), "row ", kept, ", chunk ", c,
                   " depends on other rows: ", partial[c * p.n_rows + kept], ", ", again[c * p.n_rows + kept]);
    });
}

template <class Weight>
void check_weight(const std::string& name, Recipe weight) {
    check_sums<gpu::Sum<Weight, false, false, 1, 8>, 1, 8>(name + " of rounded products", weight, Mode::rounded, false);
    check_sums<gpu::Sum<Weight, true, true, 1, 8>, 1, 8>(name + " of float32 products", weight, Mode::accurate, true);
}

}  // namespace

int main() {
    catch_fences();
    check_weight<Count>("count", count);
    check_weight<Hinge>("hinge", hinge);
    check_weight<SquaredHinge>("squared hinge", squared_hinge);
    check_weight<Similarity>("similarity", similarity);
    check_weight<Exp>("exp", hnscore::exp);
    check_sums<gpu::Sum<Hinge, false, false, 2, 16>, 2, 16>("hinge, 32 rows a warp", hinge, Mode::rounded, false);
    check_sums<gpu::Sum<Count, true, false, 2, 16>, 2, 16>("exact count", count, Mode::accurate, false);
    check_sums<gpu::Sum<Count, true, false, 1, 32>, 1, 32>("exact count, 256 columns", count, Mode::accurate, false);
    check_sums<gpu::Screen<2, 16>, 2, 16>("screen, hinge", hinge, Mode::screen, false);
    check_sums<gpu::Screen<1, 32>, 1, 32>("screen, similarity", similarity, Mode::screen, false);
    return report();
}

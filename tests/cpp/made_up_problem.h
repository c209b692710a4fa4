// A made-up problem for what decides and weighs pairs: rows and columns of the caller, what is known of them, rules;
// and the contract's own words for each pair, one after the other.
#pragma once

#include <algorithm>

#include "cuda/epilogue/epilogue.h"
#include "cuda/rows/rows.h"
#include "cuda/tiles/work.h"
#include "properties.h"
#include "recipes/recipe.h"

namespace properties {

// One side: `count` rows of a launch, which are rows [first_value, first_value + count) of the values, directly or by
// `pick`, and rows [first, first + count) in the arrays of the rules.
struct Side {
    int64_t count, first, first_value;
    Table table;
    std::vector<int64_t> pick;
    std::vector<int> exponent;
    Fenced<RowFacts> facts;
    Fenced<int64_t> group, owner;

    Side(Random& random, DType type, int64_t n, int64_t dim, bool cosine, bool integers)
        : count(n),
          first(random.integer(0, 3)),
          first_value(random.integer(0, 3)),
          table(type, n + first_value, dim),
          exponent(static_cast<size_t>(n)),
          facts(n, false),
          group(n + first, false),
          owner(n + first, false) {
        for (int64_t i = 0; i < n + first_value; ++i) {
            pick.push_back(random.chance(0.5) ? i : random.integer(0, n + first_value - 1));
            for (int64_t k = 0; k < dim; ++k)
                table.set(i, k, integers ? static_cast<double>(random.integer(-2, 2)) : random.uniform(-1, 1));
            table.set(i, 0, static_cast<double>(random.integer(1, 2)));  // no row is 0
        }
        for (int64_t i = 0; i < n; ++i) set_facts(random, i, cosine);
        for (int64_t i = 0; i < group.size(); ++i) {
            group[i] = random.integer(-2, 3);
            owner[i] = random.integer(0, n);
        }
    }

    const double* values(int64_t i) const { return table.row(pick[static_cast<size_t>(first_value + i)]); }

    // As pack_kernel would set them for float16, with an error of its own.
    void set_facts(Random& random, int64_t i, bool cosine) {
        const double norm = std::sqrt(exact_dot_of(values(i), values(i), table.view.dim));
        const int e = std::ilogb(norm) - 10;
        exponent[static_cast<size_t>(i)] = e;
        RowFacts& f = facts[i];
        f.root = cosine ? norm : 1;
        f.norm2 = exact_dot_of(values(i), values(i), table.view.dim);
        const double m = std::ldexp(f.root, -e);
        f.m = static_cast<float>(m);
        f.m_low = static_cast<float>(m - static_cast<double>(f.m));
        f.norm = static_cast<float>(std::ldexp(norm, -e)) * (1 + 0x1p-20f);
        f.error = random.chance(0.3) ? 0 : static_cast<float>(random.uniform(0, 0x1p-11));
    }
    double m(int64_t i) const { return static_cast<double>(facts[i].m) + static_cast<double>(facts[i].m_low); }
    bool bad(int64_t i) const { return std::isnan(facts[i].norm); }
};

struct MadeUp {
    Random& random;
    const bool integers, cosine;
    const DType type;
    const int64_t dim;
    Side rows, cols;
    Fenced<double> tau, most, kth_value;
    Fenced<int64_t> kth_row;
    std::vector<int64_t> wide;
    const int64_t padded;
    Fenced<ColumnFacts> col_facts;
    Fenced<float> col_limit;
    float col_error = 0;
    Problem p{};

    // Integers make ties, other numbers make sums that float64 rounds.
    MadeUp(Random& r, int64_t n_rows, int64_t n_cols)
        : random(r),
          integers(r.chance(0.5)),
          cosine(r.chance(0.6)),
          type(integers ? r.of({DType::i8, DType::f16, DType::f32}) : r.of({DType::f32, DType::f64})),
          dim(r.of<int64_t>({1, 3, 8, 16, 41})),
          rows(r, type, n_rows, dim, cosine, integers),
          cols(r, type, n_cols, dim, cosine, integers),
          tau(n_cols, false),
          most(std::max(n_rows + rows.first, n_cols + cols.first), false),
          kth_value(n_cols + cols.first, false),
          kth_row(n_cols + cols.first, false),
          wide(kMostWarps * WideSum::kLimbs),
          padded((n_cols + 255) / 256 * 256),
          col_facts(padded, true, {kNever, 0, 0, 0}),
          col_limit(padded, true, kNever) {
        p.rows = {rows.table.view, rows.pick.data(), n_rows + rows.first_value};
        p.cols = {cols.table.view, cols.pick.data(), n_cols + cols.first_value};
        p.n_rows = n_rows;
        p.n_cols = n_cols;
        p.depth = dim;
        p.first_row = rows.first, p.first_value_row = rows.first_value;
        p.first_col = cols.first, p.first_value_col = cols.first_value;
        p.row_facts = rows.facts.data();
        p.col_rows = cols.facts.data();
        p.cosine = cosine;
        p.exact = !integers || random.chance(0.5);  // sums of integers are exact anyway
        p.temperature = 1;
        p.wide = wide.data();
    }

    double similarity(int64_t i, int64_t j) const {
        const double dot = exact_dot_of(rows.values(i), cols.values(j), dim);
        if (cosine && p.exact) return cosine_of(dot, rows.facts[i].norm2, cols.facts[j].norm2);
        return dot / (rows.facts[i].root * cols.facts[j].root);
    }
    // The similarity of some pair, or a number next to it, or any.
    double near_similarity() {
        const double s = similarity(random.integer(0, p.n_rows - 1), random.integer(0, p.n_cols - 1));
        const int which = static_cast<int>(random.integer(0, 3));
        return which == 0   ? s
               : which == 1 ? std::nextafter(s, HUGE_VAL)
               : which == 2 ? std::nextafter(s, -HUGE_VAL)
                            : s + random.uniform(-0.2, 0.2);
    }

    void draw_thresholds() {
        for (int64_t j = 0; j < tau.size(); ++j) tau[j] = near_similarity();
        p.tau = tau.data();
    }
    void draw_labels() {
        if (random.chance(0.6)) {
            p.row_group = rows.group.data(), p.col_group = cols.group.data();
            p.negative_groups_differ = random.chance(0.5);
        }
        if (random.chance(0.5) || !p.row_group) {
            p.row_owner = rows.owner.data();
            if (random.chance(0.6)) p.col_owner = cols.owner.data();
        }
    }
    void draw_limits(bool of_rows) {
        for (int64_t j = 0; j < most.size(); ++j) most[j] = random.chance(0.1) ? HUGE_VAL : near_similarity();
        p.max_similarity = most.data();
        p.max_similarity_of_rows = of_rows;
    }
    void draw_kth() {
        for (int64_t j = 0; j < kth_row.size(); ++j) {
            kth_value[j] = random.chance(0.1) ? -HUGE_VAL : near_similarity();
            kth_row[j] = kth_value[j] == -HUGE_VAL ? INT64_MAX : random.integer(0, p.n_rows + rows.first);
        }
        p.kth_value = kth_value.data(), p.kth_row = kth_row.data();
    }

    // Float32 has no scale for these: every pair is decided. Only where the similarity is a dot product.
    static void decide_all_of(RowFacts& f) {
        f.norm = HUGE_VALF;
        f.m = f.m_low = NAN;
    }
    // What the tiles are told of the columns, once the rules are drawn.
    void make_columns(bool keep_m, bool decided) {
        ColumnRules rules{};
        rules.tau = p.tau;  // that there is one
        rules.keep_m = keep_m;
        rules.decided = decided;
        rules.most = HUGE_VAL;
        for (int64_t j = 0; j < p.n_cols; ++j) {
            col_facts[j] = column_facts(cols.facts[j], least(j), rules);
            const double high = p.max_similarity && !p.max_similarity_of_rows ? most[cols.first + j] : HUGE_VAL;
            col_limit[j] = high < HUGE_VAL ? static_cast<float>(high) * cols.facts[j].m : kNever;
            col_error = std::max(col_error, cols.facts[j].error);
        }
        p.col_facts = col_facts.data();
        p.col_limit = col_limit.data();
        p.col_error = &col_error;
    }
    // What a pair of a column must exceed, or reach.
    double least(int64_t column) const {
        const double own = p.tau ? p.tau[column] : -HUGE_VAL;
        return p.kth_value ? std::max(own, kth_value[cols.first + column]) : own;
    }
    // How far acc may be from m_i m_j s_ij.
    double band(int64_t row, int64_t column) const {
        const RowFacts &x = rows.facts[row], &t = cols.facts[column];
        const double a = static_cast<double>(x.error), b = static_cast<double>(col_error);
        return static_cast<double>(x.norm) * static_cast<double>(t.norm) *
               (a + b + a * b + static_cast<double>(p.rounding));
    }

    bool excluded(int64_t row, int64_t column) const {
        const int64_t i = rows.first + row, j = cols.first + column;
        if (p.row_owner && rows.owner[i] == (p.col_owner ? cols.owner[j] : j)) return true;
        if (!p.row_group || rows.group[i] != cols.group[j]) return false;
        return rows.group[i] >= 0 || !p.negative_groups_differ;
    }
    double limit(int64_t row, int64_t column) const {
        return !p.max_similarity ? HUGE_VAL : most[p.max_similarity_of_rows ? rows.first + row : cols.first + column];
    }
    // Whether the contract counts a pair of a similarity.
    bool counts(int64_t row, int64_t column, double s) const {
        if (rows.bad(row) || cols.bad(column) || excluded(row, column)) return false;
        if (p.tau && !(s > p.tau[column])) return false;
        if (s > limit(row, column)) return false;
        if (!p.kth_value) return true;
        const double least = kth_value[cols.first + column];
        return s > least || (s == least && rows.first + row <= kth_row[cols.first + column]);
    }
};

// The products of a launch, as a tile loop would hand them to an epilogue. What lies beyond the last row or column may
// be anything.
struct Products {
    int64_t pitch;
    std::vector<float> acc;

    Products(Random& random, const MadeUp& made) : pitch(made.padded) {
        for (int64_t i = (made.p.n_rows + 63) / 32 * 32 * pitch; i > 0; --i)
            acc.push_back(static_cast<float>(random.uniform(-0x1p22, 0x1p22)));
    }
    float& at(int64_t row, int64_t column) { return acc[static_cast<size_t>(row * pitch + column)]; }
};

// One item of all columns through an epilogue, a warp for each 16 RM rows.
template <class Epilogue, int RM, int NB>
void run_epilogue(const Problem& p, int64_t part, Products& products, int chunk_columns) {
    using Scratch = typename Epilogue::Scratch;
    const int warps = static_cast<int>((p.n_rows + 16 * RM - 1) / (16 * RM));
    on_warps(warps, warps * static_cast<int>(sizeof(Scratch)), [&] {
        const int warp = thread() / 32, first_row = 16 * RM * warp, n_cols = static_cast<int>(p.n_cols);
        Epilogue epilogue(p, part, first_row, reinterpret_cast<Scratch*>(shared())[warp]);
        for (int col = 0; col < n_cols; col += 8 * NB) {
            float acc[RM][NB][4];
            for (int r = 0; r < RM; ++r)
                for (int n = 0; n < NB; ++n)
                    for (int e = 0; e < 4; ++e)
                        acc[r][n][e] = products.at(first_row + own_row(r, e), col + own_column(n, e));
            epilogue.tile(acc, col);
            if (ends_chunk({0, 0, 0, n_cols}, col + 8 * NB, chunk_columns)) epilogue.flush(col / chunk_columns);
        }
    });
}

}  // namespace properties

// The engine: for each row, reduce over all packed columns. Everything heavy in hnscore is a recipe of this one shape.
#pragma once

#include <vector>

#include "core/rules.h"
#include "cpu/rows/columns.h"
#include "lists/pair_lists.h"
#include "recipes/recipe.h"

namespace hnscore {

// Which pairs count; null pointers: no such rule.
struct Rules : RulesOf<int32_t> {
    const double* tau = nullptr;    // s > tau_j
    const double* floor = nullptr;  // top recipes and pairs: key > floor_i
    // The upper triangle of a symmetric matrix: row i and column j are points i and first_column + j of one set, a pair
    // counts where i < first_column + j, and its term is added to the sum of the column too.
    bool triangle = false;
    int64_t first_column = 0;

    bool filtered() const { return RulesOf::filtered() || triangle; }
};

// Pairs that the passes of a cascade left: what was looked at, what the first pass and the second left.
struct Survivors {
    int64_t pairs = 0, first = 0, second = 0;
};

// What a term is made of beside the similarity.
struct Terms {
    // Weights of the terms of a sum: by column in the values of the rows, by row in those of the columns.
    const double *row_weight = nullptr, *col_weight = nullptr;
    const double* col_shift = nullptr;                              // kernel, overlap: added to a term
    const double *row_variance = nullptr, *col_variance = nullptr;  // overlap: recipes/weight.h
    double rate = 0;
};

struct Job {
    View rows{};
    const Columns* columns = nullptr;
    Recipe recipe = hinge;
    Recipe weight = similarity;  // of an entry, where rank_weights ask for it
    double temperature = 1;      // exp, kernel
    int64_t k = 1;               // top recipes
    const double* rank_weights = nullptr;
    Rules rules;
    Terms terms;
    // Outputs: one value a row; or, for a top recipe without rank_weights, k keys and columns a row; or, for pairs,
    // lists alone. A column's values are those of a triangle.
    double* values = nullptr;
    double* col_values = nullptr;
    int64_t* entries = nullptr;
    PairLists* lists = nullptr;
    Survivors* survivors = nullptr;  // of a cascade, added up
};

// Returns the bad rows; the outputs are then incomplete.
std::vector<std::pair<int64_t, int>> reduce(const Job& job, int n_threads, const Poll& poll);

// Exact similarity of row a_rows[j] (j where null) of `a` with row j of `b`.
struct PairResult {
    std::vector<std::pair<int64_t, int>> bad_a, bad_b;
};
PairResult pair_similarity(const View& a, const int64_t* a_rows, const View& b, const Format& format, int n_threads,
                           double* out, const Poll& poll);

}  // namespace hnscore

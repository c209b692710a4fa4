// The engine for Python. Arguments were checked by hnscore/arguments; here only what would otherwise be undefined.
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <bit>
#include <limits>

#include "bindings/columns.h"
#include "cpu/target/dispatch.h"
#include "recipes/threshold.h"

namespace py = pybind11;
using hnscore::Side;
using hnscore::side;
using hnscore::View;
using hnscore::view_of;
using hnscore::without_gil;

namespace {

// Arrays of Python's, kept for the call.
struct PyRules {
    Side<double> max_similarity;
    bool max_similarity_of_rows = false;
    Side<int32_t> row_groups, col_groups;
    bool negative_groups_differ = false;
    Side<int32_t> row_owners, col_owners;
    Side<double> kth_value;
    Side<int64_t> kth_row;
    Side<double> skip_value;
    Side<int64_t> skip_row;

    hnscore::RulesOf<int32_t> of(int64_t n, int64_t m) const {
        hnscore::RulesOf<int32_t> r{side(max_similarity, max_similarity_of_rows ? n : m, "max_similarity"),
                                    max_similarity_of_rows,
                                    side(row_groups, n, "row_groups"),
                                    side(col_groups, m, "col_groups"),
                                    negative_groups_differ,
                                    side(row_owners, n, "row_owners"),
                                    side(col_owners, m, "col_owners"),
                                    side(kth_value, m, "kth_value"),
                                    side(kth_row, m, "kth_row"),
                                    side(skip_value, m, "skip_value"),
                                    side(skip_row, m, "skip_row")};
        if (!r.row_group != !r.col_group || !r.row_owner != !r.col_owner || !r.kth_value != !r.kth_row ||
            !r.skip_value != !r.skip_row)
            throw std::invalid_argument("groups, owners, kth and skip values come in pairs");
        return r;
    }
};

// What a term is made of beside the similarity: cpu/engine.h.
struct PyTerms {
    Side<double> row_weights, col_weights, col_shift, row_variance, col_variance;
    double rate = 0;

    hnscore::Terms of(int64_t n, int64_t m) const {
        return {side(row_weights, n, "row_weights"),   side(col_weights, m, "col_weights"),
                side(col_shift, m, "col_shift"),       side(row_variance, n, "row_variance"),
                side(col_variance, m, "col_variance"), rate};
    }
};

hnscore::Job job_of(const py::array& array, int code, const hnscore::PyColumns& columns, const std::string& recipe,
                    const Side<double>& tau, const PyRules& rules, const Side<double>& floor) {
    hnscore::Job job;
    job.rows = view_of(array, code);
    job.columns = &columns.columns;
    if (job.rows.dim != columns.columns.dim) throw std::invalid_argument("rows and columns differ in dim");
    job.recipe = static_cast<hnscore::Recipe>(hnscore::index_of(hnscore::kRecipeNames, recipe, "recipe"));
    static_cast<hnscore::RulesOf<int32_t>&>(job.rules) = rules.of(job.rows.rows, columns.columns.rows);
    job.rules.tau = side(tau, columns.columns.rows, "tau");
    job.rules.floor = side(floor, job.rows.rows, "floor");
    return job;
}

template <class Value>
py::tuple listed(const std::vector<hnscore::PairLists::Block>& blocks, int64_t rows) {
    int64_t total = 0;
    for (const auto& block : blocks) total += static_cast<int64_t>(block.pairs.size());
    py::array_t<int64_t> counts(rows);
    py::array_t<int32_t> columns(total);
    py::array_t<Value> similarities(total);
    int64_t *count = counts.mutable_data(), at = 0;
    for (const auto& block : blocks) {
        count = std::copy(block.counts.begin(), block.counts.end(), count);
        for (const hnscore::ListedPair& p : block.pairs) {
            columns.mutable_data()[at] = p.column;
            similarities.mutable_data()[at++] = static_cast<Value>(p.similarity);
        }
    }
    return py::make_tuple(counts, columns, similarities, std::vector<std::pair<int64_t, int>>{});
}

py::object pairs(const py::array& array, int code, const hnscore::PyColumns& columns, int n_threads, int64_t most,
                 bool in_float32, const Side<double>& tau, const PyRules& rules, const Side<double>& floor,
                 const py::object& progress) {
    hnscore::Job job = job_of(array, code, columns, "pairs", tau, rules, floor);
    hnscore::PairLists lists(most, in_float32);
    job.lists = &lists;
    const auto bad = without_gil(progress, [&](const auto& poll) { return hnscore::reduce(job, n_threads, poll); });
    if (bad.empty() && lists.too_many()) return py::none();
    if (!bad.empty()) return py::make_tuple(py::none(), py::none(), py::none(), bad);
    return in_float32 ? listed<float>(lists.blocks(), job.rows.rows) : listed<double>(lists.blocks(), job.rows.rows);
}

py::tuple reduce(const py::array& array, int code, const hnscore::PyColumns& columns, const std::string& recipe,
                 int n_threads, const Side<double>& tau, const PyRules& rules, const PyTerms& terms,
                 const std::string& weight, double temperature, int64_t k, const Side<double>& floor,
                 const Side<double>& rank_weights, const std::optional<int64_t>& triangle, const py::object& progress,
                 const py::object& survivors) {
    hnscore::Job job = job_of(array, code, columns, recipe, tau, rules, floor);
    if (job.recipe == hnscore::pairs) throw std::invalid_argument("pairs are lists: call pairs()");
    const int64_t n = job.rows.rows, m = columns.columns.rows;
    job.weight = static_cast<hnscore::Recipe>(hnscore::index_of(hnscore::kRecipeNames, weight, "weight"));
    job.temperature = temperature;
    job.k = k;
    const bool top = hnscore::is_top(job.recipe);
    if (top) job.rank_weights = side(rank_weights, k, "rank_weights");
    job.terms = terms.of(n, m);
    if (!job.terms.row_variance != !job.terms.col_variance) throw std::invalid_argument("variances come in pairs");
    if (!job.terms.row_variance != (job.recipe != hnscore::overlap))
        throw std::invalid_argument("variances come with the recipe overlap");
    if (job.recipe == hnscore::overlap && columns.columns.plan) throw std::invalid_argument("overlaps are dense");
    py::object col_values = py::none();
    if (triangle) {
        if (job.recipe != hnscore::count && job.recipe != hnscore::kernel)
            throw std::invalid_argument("a triangle needs a recipe whose terms are symmetric");
        if (columns.columns.plan) throw std::invalid_argument("a triangle is dense");
        if (*triangle < 0 || *triangle + m > n || n > std::numeric_limits<int32_t>::max())
            throw std::invalid_argument("the columns of a triangle are some of its rows");
        job.rules.triangle = true;
        job.rules.first_column = *triangle;
        py::array_t<double> sums(m);
        std::fill_n(sums.mutable_data(), m, 0.0);
        job.col_values = sums.mutable_data();
        col_values = std::move(sums);
    }

    py::array_t<double> values = top && !job.rank_weights ? py::array_t<double>({n, k}) : py::array_t<double>(n);
    py::object entries = py::none();
    job.values = values.mutable_data();
    if (top && !job.rank_weights) {
        py::array_t<int64_t> indices({n, k});
        job.entries = indices.mutable_data();
        entries = std::move(indices);
    }
    hnscore::Survivors left;
    job.survivors = &left;
    const auto bad = without_gil(progress, [&](const auto& poll) { return hnscore::reduce(job, n_threads, poll); });
    if (!survivors.is_none() && columns.columns.plan) survivors(left.pairs, left.first, left.second);
    return py::make_tuple(values, triangle ? col_values : entries, bad);
}

py::tuple pair_similarity(const py::array& a, int a_code, const Side<int64_t>& a_rows, const py::array& b, int b_code,
                          const std::string& similarity, int n_threads) {
    const View va = view_of(a, a_code), vb = view_of(b, b_code);
    if (va.dim != vb.dim) throw std::invalid_argument("a and b differ in dim");
    const int64_t* rows = side(a_rows, vb.rows, "a_rows");
    for (int64_t j = 0; j < vb.rows; ++j)
        if ((rows ? rows[j] : j) < 0 || (rows ? rows[j] : j) >= va.rows)
            throw std::invalid_argument("a_rows out of range");
    const hnscore::Format format = hnscore::format_of(similarity, "exact");
    py::array_t<double> out(vb.rows);
    double* values = out.mutable_data();
    const auto result = without_gil(py::none(), [&](const auto& poll) {
        return hnscore::pair_similarity(va, rows, vb, format, n_threads, values, poll);
    });
    return py::make_tuple(out, result.bad_a, result.bad_b);
}

py::array_t<double> thresholds(const py::array_t<double, py::array::c_style>& reference,
                               const std::array<double, hnscore::kMargins>& margins) {
    py::array_t<double> tau(reference.size());
    std::transform(reference.data(), reference.data() + reference.size(), tau.mutable_data(),
                   [m = std::bit_cast<hnscore::Margins>(margins)](double r) { return hnscore::threshold_of(r, m); });
    return tau;
}

double exact_dot(const py::array_t<double, py::array::c_style>& a, const py::array_t<double, py::array::c_style>& b) {
    if (a.size() != b.size()) throw std::invalid_argument("a and b differ in length");
    const hnscore::Target& t = hnscore::current_target();
    return hnscore::round_pair_sum(t.dot_pair(a.data(), b.data(), a.size(), true), a.data(), b.data(), a.size());
}

}  // namespace

void register_engine(py::module_& m) {
    py::class_<PyRules>(m, "Rules")
        .def(
            py::init([](const Side<double>& max_similarity, bool max_similarity_of_rows,
                        const Side<int32_t>& row_groups, const Side<int32_t>& col_groups, bool negative_groups_differ,
                        const Side<int32_t>& row_owners, const Side<int32_t>& col_owners, const Side<double>& kth_value,
                        const Side<int64_t>& kth_row, const Side<double>& skip_value, const Side<int64_t>& skip_row) {
                return PyRules{max_similarity,
                               max_similarity_of_rows,
                               row_groups,
                               col_groups,
                               negative_groups_differ,
                               row_owners,
                               col_owners,
                               kth_value,
                               kth_row,
                               skip_value,
                               skip_row};
            }),
            py::kw_only(), py::arg("max_similarity") = py::none(), py::arg("max_similarity_of_rows") = false,
            py::arg("row_groups") = py::none(), py::arg("col_groups") = py::none(),
            py::arg("negative_groups_differ") = false, py::arg("row_owners") = py::none(),
            py::arg("col_owners") = py::none(), py::arg("kth_value") = py::none(), py::arg("kth_row") = py::none(),
            py::arg("skip_value") = py::none(), py::arg("skip_row") = py::none());
    py::class_<PyTerms>(m, "Terms")
        .def(
            py::init([](const Side<double>& row_weights, const Side<double>& col_weights, const Side<double>& col_shift,
                        const Side<double>& row_variance, const Side<double>& col_variance, double rate) {
                return PyTerms{row_weights, col_weights, col_shift, row_variance, col_variance, rate};
            }),
            py::kw_only(), py::arg("row_weights") = py::none(), py::arg("col_weights") = py::none(),
            py::arg("col_shift") = py::none(), py::arg("row_variance") = py::none(),
            py::arg("col_variance") = py::none(), py::arg("rate") = 0.0);
    m.def("reduce", &reduce, py::arg("array"), py::arg("code"), py::arg("columns"), py::arg("recipe"),
          py::arg("n_threads"), py::kw_only(), py::arg("tau") = py::none(), py::arg("rules") = PyRules{},
          py::arg("terms") = PyTerms{}, py::arg("weight") = "similarity", py::arg("temperature") = 1.0,
          py::arg("k") = 1, py::arg("floor") = py::none(), py::arg("rank_weights") = py::none(),
          py::arg("triangle") = py::none(), py::arg("progress") = py::none(), py::arg("survivors") = py::none());
    m.def("pairs", &pairs, py::arg("array"), py::arg("code"), py::arg("columns"), py::arg("n_threads"), py::kw_only(),
          py::arg("most"), py::arg("in_float32"), py::arg("tau") = py::none(), py::arg("rules") = PyRules{},
          py::arg("floor") = py::none(), py::arg("progress") = py::none());
    m.def("pair_similarity", &pair_similarity, py::arg("a"), py::arg("a_code"), py::arg("a_rows"), py::arg("b"),
          py::arg("b_code"), py::arg("similarity"), py::arg("n_threads"));
    m.def("thresholds", &thresholds, py::arg("reference"), py::arg("margins"));
    m.def("exact_dot", &exact_dot, py::arg("a"), py::arg("b"));
}

// Greedy selection for Python. Arguments were checked by hnscore/arguments; here only what would otherwise be
// undefined.
#include <pybind11/stl.h>

#include "bindings/bind.h"
#include "cpu/target/dispatch.h"
#include "select/coverage.h"
#include "select/greedy.h"

namespace py = pybind11;
using hnscore::Side;
using hnscore::without_gil;

namespace {

using Rows = py::array_t<int64_t, py::array::c_style>;
using Values = py::array_t<double, py::array::c_style>;

void check_rows(const Rows& rows, int64_t n) {
    if (rows.ndim() != 1) throw std::invalid_argument("rows must be one-dimensional");
    for (int64_t i = 0; i < rows.size(); ++i)
        if (rows.data()[i] < 0 || rows.data()[i] >= n) throw std::invalid_argument("row out of range");
}

py::tuple greedy(const py::array& array, int code, const Rows& covered, int64_t budget, bool farthest,
                 const Side<double>& base, double first_factor, double factor_step, double penalty, double temperature,
                 int n_threads, const py::object& progress) {
    hnscore::GreedyProblem problem;
    problem.rows = hnscore::view_of(array, code);
    problem.target = &hnscore::current_target();
    problem.farthest = farthest;
    problem.base = hnscore::side(base, problem.rows.rows, "base");
    problem.first_factor = first_factor;
    problem.factor_step = factor_step;
    problem.penalty = penalty;
    problem.temperature = temperature;
    check_rows(covered, problem.rows.rows);
    problem.covered.assign(covered.data(), covered.data() + covered.size());
    problem.budget = budget;
    if (budget < 0 || budget > problem.rows.rows - covered.size())
        throw std::invalid_argument("there are not so many rows to pick");
    const auto result =
        without_gil(progress, [&](const auto& poll) { return hnscore::greedy(problem, n_threads, poll); });
    return py::make_tuple(Rows(static_cast<int64_t>(result.picks.size()), result.picks.data()), result.rows_read,
                          result.products);
}

hnscore::Coverage coverage_of(const py::array& array, int code, const Rows& candidates, const py::array& points,
                              int points_code, double temperature) {
    hnscore::Coverage c;
    c.rows = hnscore::view_of(array, code);
    c.points = hnscore::view_of(points, points_code);
    if (c.rows.dim != c.points.dim) throw std::invalid_argument("rows and points differ in dim");
    check_rows(candidates, c.rows.rows);
    c.target = &hnscore::current_target();
    c.candidates = candidates.data();
    c.count = candidates.size();
    c.temperature = temperature;
    return c;
}

Values coverage_gains(const py::array& array, int code, const Rows& candidates, const py::array& points,
                      int points_code, double temperature, int n_threads, const Side<double>& weights,
                      const Side<double>& floor, const py::object& progress) {
    const hnscore::Coverage c = coverage_of(array, code, candidates, points, points_code, temperature);
    const double* w = hnscore::side(weights, c.points.rows, "weights");
    const double* f = hnscore::side(floor, c.points.rows, "floor");
    Values gains(c.count);
    double* out = gains.mutable_data();
    without_gil(progress, [&](const auto& poll) { hnscore::coverage_gains(c, w, f, out, n_threads, poll); });
    return gains;
}

void raise_floor(const py::array& array, int code, const Rows& candidates, const py::array& points, int points_code,
                 double temperature, int n_threads, Values floor, const py::object& progress) {
    const hnscore::Coverage c = coverage_of(array, code, candidates, points, points_code, temperature);
    if (floor.ndim() != 1 || floor.size() != c.points.rows)
        throw std::invalid_argument("floor must have a value for each point");
    double* out = floor.mutable_data();
    without_gil(progress, [&](const auto& poll) { hnscore::raise_floor(c, out, n_threads, poll); });
}

Rows cover(const py::array& array, int code, const Rows& candidates, const py::array& points, int points_code,
           double temperature, int n_threads, const Values& bounds, int64_t budget, const Side<double>& weights,
           Values floor, const py::object& progress) {
    const hnscore::Coverage c = coverage_of(array, code, candidates, points, points_code, temperature);
    const double* w = hnscore::side(weights, c.points.rows, "weights");
    if (floor.ndim() != 1 || floor.size() != c.points.rows || bounds.ndim() != 1 || bounds.size() != c.count)
        throw std::invalid_argument("floor must have a value for each point, bounds one for each candidate");
    if (budget < 0 || budget > c.count) throw std::invalid_argument("budget must be from 0 to the candidates");
    double* out = floor.mutable_data();
    const auto picks = without_gil(
        progress, [&](const auto& poll) { return hnscore::cover(c, bounds.data(), budget, w, out, n_threads, poll); });
    return Rows(static_cast<py::ssize_t>(picks.size()), picks.data());
}

}  // namespace

void register_select(py::module_& m) {
    m.def("greedy", &greedy, py::arg("array"), py::arg("code"), py::arg("covered"), py::arg("budget"), py::kw_only(),
          py::arg("farthest") = false, py::arg("base") = py::none(), py::arg("first_factor") = 1.0,
          py::arg("factor_step") = 0.0, py::arg("penalty") = 0.0, py::arg("temperature") = 1.0, py::arg("n_threads"),
          py::arg("progress") = py::none());
    m.def("coverage_gains", &coverage_gains, py::arg("array"), py::arg("code"), py::arg("candidates"),
          py::arg("points"), py::arg("points_code"), py::arg("temperature"), py::arg("n_threads"), py::kw_only(),
          py::arg("weights") = py::none(), py::arg("floor") = py::none(), py::arg("progress") = py::none());
    m.def("raise_floor", &raise_floor, py::arg("array"), py::arg("code"), py::arg("candidates"), py::arg("points"),
          py::arg("points_code"), py::arg("temperature"), py::arg("n_threads"), py::arg("floor").noconvert(),
          py::kw_only(), py::arg("progress") = py::none());
    m.def("cover", &cover, py::arg("array"), py::arg("code"), py::arg("candidates"), py::arg("points"),
          py::arg("points_code"), py::arg("temperature"), py::arg("n_threads"), py::kw_only(), py::arg("bounds"),
          py::arg("budget"), py::arg("weights") = py::none(), py::arg("floor").noconvert(),
          py::arg("progress") = py::none());
}

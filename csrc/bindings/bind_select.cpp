// Greedy selection for Python. Arguments were checked by hnscore/arguments; here only what would otherwise be
// undefined.
#include <pybind11/stl.h>

#include "bindings/bind.h"
#include "cover/cover.h"
#include "cpu/rows/rows.h"
#include "cpu/target/dispatch.h"
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

py::tuple greedy(const py::array& array, int code, const Rows& covered, Rows picks, Values gains, bool farthest,
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
    problem.budget = picks.size();
    if (picks.ndim() != 1 || picks.size() > problem.rows.rows - covered.size() || gains.size() != picks.size())
        throw std::invalid_argument("there are not so many rows to pick");
    int64_t* out = picks.mutable_data();
    double* of_picks = gains.mutable_data();
    const auto counts = without_gil(
        progress, [&](const auto& poll) { return hnscore::greedy(problem, out, of_picks, n_threads, poll); });
    return py::make_tuple(counts.rows_read, counts.products);
}

hnscore::Coverage coverage_of(const py::array& array, int code, const Rows& candidates, const py::array& points,
                              int points_code, double temperature, const std::string& kernel = "exponential") {
    hnscore::Coverage c;
    c.cosine = kernel == "cosine";
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
                      const Side<double>& floor, const std::string& kernel, const py::object& progress) {
    const hnscore::Coverage c = coverage_of(array, code, candidates, points, points_code, temperature, kernel);
    const double* w = hnscore::side(weights, c.points.rows, "weights");
    const double* f = hnscore::side(floor, c.points.rows, "floor");
    Values gains(c.count);
    double* out = gains.mutable_data();
    without_gil(progress, [&](const auto& poll) { hnscore::coverage_gains(c, w, f, out, n_threads, poll); });
    return gains;
}

void raise_floor(const py::array& array, int code, const Rows& candidates, const py::array& points, int points_code,
                 double temperature, int n_threads, Values floor, const std::string& kernel,
                 const py::object& progress) {
    const hnscore::Coverage c = coverage_of(array, code, candidates, points, points_code, temperature, kernel);
    if (floor.ndim() != 1 || floor.size() != c.points.rows)
        throw std::invalid_argument("floor must have a value for each point");
    double* out = floor.mutable_data();
    without_gil(progress, [&](const auto& poll) { hnscore::raise_floor(c, out, n_threads, poll); });
}

// A Cover with the arrays that it reads and writes.
struct Covering {
    Covering(py::array array, int code, Rows candidates_, py::array points, int points_code, double temperature,
             int n_threads, const Side<double>& weights, Values floor_, int64_t memory, const std::string& kernel)
        : held{array, candidates_, points, weights ? py::object(*weights) : py::none(), floor_},
          rows(hnscore::view_of(array, code).rows),
          candidates(candidates_.size()) {
        const hnscore::Coverage c = coverage_of(array, code, candidates_, points, points_code, temperature, kernel);
        if (floor_.ndim() != 1 || floor_.size() != c.points.rows || c.points.rows == 0)
            throw std::invalid_argument("points must be at least one, floor must have a value for each");
        const double* w = hnscore::side(weights, c.points.rows, "weights");
        double* out = floor_.mutable_data();
        cover = without_gil(py::none(), [&](const auto& poll) {
            return std::make_unique<hnscore::Cover>(c, w, out, std::max<int64_t>(memory, 0), n_threads, poll);
        });
    }
    void lower(const Values& bounds) {
        if (bounds.ndim() != 1 || bounds.size() != rows)
            throw std::invalid_argument("bounds must have one of each row");
        const double* in = bounds.data();
        without_gil(py::none(), [&](const auto&) { cover->lower(in); });
    }
    int64_t pick(Rows picks, Values gains, int64_t patience, int64_t draw, uint64_t seed, const py::object& progress) {
        if (picks.ndim() != 1 || picks.size() > candidates || gains.size() != picks.size())
            throw std::invalid_argument("there are not so many candidates to pick");
        const hnscore::Cover::Request request{picks.size(), patience, draw, seed};
        int64_t* out = picks.mutable_data();
        double* of_picks = gains.mutable_data();
        const int64_t made =
            without_gil(progress, [&](const auto& poll) { return cover->pick(request, out, of_picks, poll); });
        candidates -= made;
        return made;
    }
    py::tuple counts() const { return py::make_tuple(cover->counts().bounds, cover->counts().gains); }

    std::vector<py::object> held;
    int64_t rows, candidates;
    std::unique_ptr<hnscore::Cover> cover;
};

}  // namespace

void register_select(py::module_& m) {
    m.def(
        "bf16_rest",
        [](const py::array& array, int code, int n_threads, const py::object& progress) {
            const hnscore::View view = hnscore::view_of(array, code);
            return without_gil(progress, [&](const auto& poll) {
                return hnscore::bf16_rest(view, hnscore::current_target(), n_threads, poll);
            });
        },
        py::arg("array"), py::arg("code"), py::arg("n_threads"), py::kw_only(), py::arg("progress") = py::none());
    m.def("product_units", &hnscore::chain_units, py::arg("dim"));
    m.def("greedy", &greedy, py::arg("array"), py::arg("code"), py::arg("covered"), py::arg("picks").noconvert(),
          py::arg("gains").noconvert(), py::kw_only(), py::arg("farthest") = false, py::arg("base") = py::none(),
          py::arg("first_factor") = 1.0, py::arg("factor_step") = 0.0, py::arg("penalty") = 0.0,
          py::arg("temperature") = 1.0, py::arg("n_threads"), py::arg("progress") = py::none());
    m.def("coverage_gains", &coverage_gains, py::arg("array"), py::arg("code"), py::arg("candidates"),
          py::arg("points"), py::arg("points_code"), py::arg("temperature"), py::arg("n_threads"), py::kw_only(),
          py::arg("weights") = py::none(), py::arg("floor") = py::none(), py::arg("kernel") = "exponential",
          py::arg("progress") = py::none());
    m.def("raise_floor", &raise_floor, py::arg("array"), py::arg("code"), py::arg("candidates"), py::arg("points"),
          py::arg("points_code"), py::arg("temperature"), py::arg("n_threads"), py::arg("floor").noconvert(),
          py::kw_only(), py::arg("kernel") = "exponential", py::arg("progress") = py::none());
    py::class_<Covering>(m, "Cover")
        .def(py::init<py::array, int, Rows, py::array, int, double, int, const Side<double>&, Values, int64_t,
                      const std::string&>(),
             py::arg("array"), py::arg("code"), py::arg("candidates"), py::arg("points"), py::arg("points_code"),
             py::arg("temperature"), py::arg("n_threads"), py::kw_only(), py::arg("weights") = py::none(),
             py::arg("floor").noconvert(), py::arg("memory"), py::arg("kernel") = "exponential")
        .def("lower", &Covering::lower, py::arg("bounds"))
        .def("pick", &Covering::pick, py::arg("picks").noconvert(), py::arg("gains").noconvert(), py::kw_only(),
             py::arg("patience") = 0, py::arg("draw") = 0, py::arg("seed") = 0, py::arg("progress") = py::none())
        .def_property_readonly("keeps_all", [](const Covering& c) { return c.cover->keeps_all(); })
        .def_property_readonly("counts", &Covering::counts);
}

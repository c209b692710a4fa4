// Rows that are packed, and how a call goes through them, for Python.
#include <pybind11/stl.h>

#include "bindings/columns.h"
#include "cpu/target/dispatch.h"

namespace py = pybind11;

namespace hnscore {
namespace {

constexpr const char* kDTypes[] = {"float16", "bfloat16", "float32", "float64", "int8",  "uint8",
                                   "int16",   "uint16",   "int32",   "uint32",  "int64", "uint64"};
constexpr const char* kPrecisions[] = {"exact", "fp32", "bf16"};

PyPlan plan_of(const py::array& rows, int rows_code, const py::array& columns, int columns_code,
               const std::string& similarity, const std::string& precision, int n_threads, const std::string& recipe,
               int64_t k, const Side<double>& tau, const Side<double>& kth_value, const Side<double>& floor,
               const Side<double>& ceiling, int64_t expected_rows, bool forced) {
    PlanRequest request;
    request.rows = view_of(rows, rows_code);
    request.columns = view_of(columns, columns_code);
    request.format = format_of(similarity, precision);
    const int64_t m = request.columns.rows;
    if (request.rows.dim != request.columns.dim) throw std::invalid_argument("rows and columns differ in dim");
    if (request.rows.rows < 1 || m < 1) throw std::invalid_argument("there is nothing to plan");
    request.recipe = static_cast<Recipe>(index_of(kRecipeNames, recipe, "recipe"));
    request.k = k;
    request.tau = side(tau, m, "tau");
    request.kth_value = side(kth_value, m, "kth_value");
    request.floor = side(floor, request.rows.rows, "floor");
    request.ceiling = side(ceiling, request.rows.rows, "ceiling");
    request.expected_rows = expected_rows;
    request.forced = forced;
    auto choice = without_gil(py::none(), [&](const auto&) { return choose(request, n_threads); });
    return {std::move(choice), request.format.target, request.rows.dim};
}

std::unique_ptr<PyColumns> columns_of(const py::array& array, int code, const std::string& similarity,
                                      const std::string& precision, int n_threads, const py::object& progress,
                                      const PyPlan* plan, bool warm, const Side<double>& origin) {
    const View view = view_of(array, code);
    Format format = format_of(similarity, precision);
    format.origin = side(origin, view.dim, "origin");
    std::shared_ptr<const Plan> cascade;
    if (plan != nullptr && plan->choice.plan) {
        if (plan->dim != view.dim) throw std::invalid_argument("the plan is for another dim");
        if (format.precision != Precision::exact) throw std::invalid_argument("a cascade is exact");
        format.target = plan->target;  // whose layouts the plan's basis has
        cascade = plan->choice.plan;
    }
    auto columns =
        without_gil(progress, [&](const auto& poll) { return Columns(view, format, cascade, warm, n_threads, poll); });
    return std::make_unique<PyColumns>(PyColumns{array, origin, std::move(columns)});
}

std::vector<std::pair<int64_t, int>> bad_rows_of(const py::array& array, int code, const std::string& similarity,
                                                 int n_threads, int64_t most, const py::object& progress) {
    const View view = view_of(array, code);
    const Format format = format_of(similarity, "exact");
    return without_gil(progress, [&](const auto& poll) {
        return check_rows(view, format, static_cast<size_t>(most), n_threads, poll);
    });
}

}  // namespace

Format format_of(const std::string& similarity, const std::string& precision) {
    return {&current_target(), static_cast<Precision>(index_of(kPrecisions, precision, "precision")),
            similarity == "cosine"};
}

void register_columns(py::module_& m) {
    py::dict dtypes;
    for (const char* name : kDTypes) dtypes[name] = py::int_(dtypes.size());
    m.attr("DTYPES") = dtypes;
    py::tuple recipes(std::size(kRecipeNames)), precisions(std::size(kPrecisions));
    for (size_t i = 0; i < recipes.size(); ++i) recipes[i] = kRecipeNames[i];
    for (size_t i = 0; i < std::size(kPrecisions); ++i) precisions[i] = kPrecisions[i];
    m.attr("RECIPES") = recipes;
    m.attr("PRECISIONS") = precisions;
    m.attr("BAD_NONFINITE") = static_cast<int>(kNonFinite);
    m.attr("BAD_ZERO") = static_cast<int>(kZero);
    m.attr("BAD_RANGE") = static_cast<int>(kOutOfRange);

    py::class_<PyPlan>(m, "Plan")
        .def_property_readonly("cascade", [](const PyPlan& p) { return p.choice.plan != nullptr; })
        .def_property_readonly("reason", [](const PyPlan& p) { return p.choice.reason; })
        .def_property_readonly("dims", [](const PyPlan& p) { return p.prefix(); })
        .def_property_readonly("has_basis", [](const PyPlan& p) { return p.choice.plan && p.choice.plan->basis; })
        .def_property_readonly("codes",
                               [](const PyPlan& p) { return p.target->screen.code_bytes == 1 ? "int8" : "float32"; })
        .def_property_readonly(
            "refines",
            [](const PyPlan& p) { return p.choice.plan && p.choice.plan->basis && p.target->screen.refines; })
        .def_property_readonly("share", [](const PyPlan& p) { return p.choice.share; })
        .def_property_readonly(
            "kept", [](const PyPlan& p) { return py::make_tuple(p.choice.kept_first, p.choice.kept_second); })
        .def_property_readonly("work", [](const PyPlan& p) { return p.choice.work; });
    m.def("choose", &plan_of, py::arg("rows"), py::arg("rows_code"), py::arg("columns"), py::arg("columns_code"),
          py::arg("similarity"), py::arg("precision"), py::arg("n_threads"), py::kw_only(), py::arg("recipe"),
          py::arg("k") = 1, py::arg("tau") = py::none(), py::arg("kth_value") = py::none(),
          py::arg("floor") = py::none(), py::arg("ceiling") = py::none(), py::arg("expected_rows") = 0,
          py::arg("forced") = false);
    m.def("check_rows", &bad_rows_of, py::arg("array"), py::arg("code"), py::arg("similarity"), py::arg("n_threads"),
          py::arg("most") = BadRows::kNamed, py::arg("progress") = py::none());

    py::class_<PyColumns>(m, "Columns")
        .def(py::init(&columns_of), py::arg("array"), py::arg("code"), py::arg("similarity"), py::arg("precision"),
             py::arg("n_threads"), py::arg("progress") = py::none(), py::arg("plan").none(true) = py::none(),
             py::arg("warm") = true, py::arg("origin") = py::none())
        .def_property_readonly("rows", [](const PyColumns& c) { return c.columns.rows; })
        .def_property_readonly("dim", [](const PyColumns& c) { return c.columns.dim; })
        .def_property_readonly("nbytes", [](const PyColumns& c) { return c.columns.bytes(); })
        .def_property_readonly("target", [](const PyColumns& c) { return c.columns.format.target->name; })
        .def_property_readonly("bad_rows", [](const PyColumns& c) { return c.columns.bad; });
}

}  // namespace hnscore

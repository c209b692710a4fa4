// Pairs of Gaussians for Python. Arguments were checked by hnscore/arguments.
#include <pybind11/stl.h>

#include "bindings/bind.h"
#include "cpu/target/dispatch.h"
#include "gaussians/gaussians.h"

namespace py = pybind11;
using hnscore::view_of;
using hnscore::without_gil;

namespace {

py::tuple gaussian_pairs(const std::array<py::array, 4>& arrays, const std::array<int, 4>& codes, int n_threads,
                         double scale, double shift, int64_t n_samples, std::array<uint32_t, 2> key,
                         const py::object& progress) {
    hnscore::GaussianJob job;
    job.target = &hnscore::current_target();
    for (size_t a = 0; a < 4; ++a) {
        job.views[a] = view_of(arrays[a], codes[a]);
        if (job.views[a].rows != job.views[0].rows || job.views[a].dim != job.views[0].dim)
            throw std::invalid_argument("means and variances differ in shape");
    }
    const int64_t n = job.views[0].rows;
    job.scale = scale;
    job.shift = shift;
    job.n_samples = n_samples;
    job.key = key;
    py::array_t<double> img_var(n), txt_var(n), wasserstein(n), match(n), mismatch(n);
    job.img_var = img_var.mutable_data();
    job.txt_var = txt_var.mutable_data();
    job.wasserstein = wasserstein.mutable_data();
    job.match = match.mutable_data();
    job.mismatch = mismatch.mutable_data();
    const auto bad =
        without_gil(progress, [&](const auto& poll) { return hnscore::gaussian_pairs(job, n_threads, poll); });
    return py::make_tuple(img_var, txt_var, wasserstein, match, mismatch, bad);
}

}  // namespace

void register_gaussians(py::module_& m) {
    m.attr("BAD_NEGATIVE") = static_cast<int>(hnscore::kNegative);
    m.def("gaussian_pairs", &gaussian_pairs, py::arg("arrays"), py::arg("codes"), py::arg("n_threads"), py::kw_only(),
          py::arg("scale"), py::arg("shift"), py::arg("n_samples") = 0, py::arg("key") = std::array<uint32_t, 2>{0, 0},
          py::arg("progress") = py::none());
}

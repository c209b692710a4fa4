// What was built, what this machine supports, what is in use.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <chrono>
#include <sstream>

#include "bindings/bind.h"
#include "core/system.h"
#include "core/team.h"
#include "cpu/target/dispatch.h"

namespace py = pybind11;

namespace {

std::string compiler() {
#if defined(__clang__)
    return "clang " __clang_version__;
#elif defined(__GNUC__)
    return "gcc " __VERSION__;
#else
    return "unknown";
#endif
}

std::vector<std::string> cuda_archs() {
    std::istringstream names(HNSCORE_CUDA_ARCHS);
    std::vector<std::string> archs;
    for (std::string name; std::getline(names, name, ' ');) archs.push_back(name);
    return archs;
}

py::dict config() {
    py::dict d;
    d["version"] = HNSCORE_VERSION;
    d["compiler"] = compiler();
    d["build_type"] = HNSCORE_BUILD_TYPE;
    d["targets_compiled"] = hnscore::compiled_targets();
    d["targets_supported"] = hnscore::supported_targets();
    d["targets_emulated"] = hnscore::emulated_targets();
    d["target"] = hnscore::current_target().name;
    d["target_reason"] = hnscore::target_reason();
    py::dict missing;
    for (const auto& [name, why] : hnscore::missing_targets()) missing[py::str(name)] = why;
    d["targets_missing"] = missing;
    d["processors"] = hnscore::system::available_processors();
    const std::vector<std::string> archs = cuda_archs();
    d["cuda"] = !archs.empty();
    d["cuda_archs"] = archs;
    d["cuda_reason"] = HNSCORE_CUDA_REASON;
    return d;
}

// The rate of independent products of a kind, all threads at once; 0 where the target has no unit for them.
double peak(double seconds, int n_threads, const std::string& kind) {
    const hnscore::Target& target = hnscore::current_target();
    const hnscore::Burst burst = kind == "int8"   ? target.int8_burst
                                 : kind == "bf16" ? target.bf16_burst
                                                  : target.fma_burst;
    if (burst == nullptr) return 0;
    constexpr int64_t kIterations = 20000;
    std::vector<double> operations(static_cast<size_t>(n_threads));
    hnscore::Team team(n_threads, 0, {});
    const auto start = std::chrono::steady_clock::now();
    const auto elapsed = [&] {
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    };
    team.run([&](int worker) {
        while (elapsed() < seconds) operations[static_cast<size_t>(worker)] += burst(kIterations);
    });
    double sum = 0;
    for (const double o : operations) sum += o;
    return sum / elapsed();
}

std::string set_target(const std::string& name) {
    const std::string previous = hnscore::current_target().name;
    hnscore::set_target(name);
    return previous;
}

}  // namespace

void register_config(py::module_& m) {
    m.attr("VERSION") = HNSCORE_VERSION;
    m.def("config", &config);
    m.def("default_threads", &hnscore::default_threads);
    m.def("exit_on_bus_error", &hnscore::system::exit_on_bus_error, py::arg("message"));
    m.def("set_target", &set_target, py::arg("name"));
    m.def("peak", &peak, py::arg("seconds"), py::arg("n_threads"), py::arg("kind") = "fp32",
          py::call_guard<hnscore::WithoutGil>());
}

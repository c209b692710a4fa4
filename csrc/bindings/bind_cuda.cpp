// The Python face of the GPU backend: hnscore/_cuda.pyi. Pointers travel as integers.
#include <pybind11/functional.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <bit>
#include <sstream>

#include "bindings/cuda_arguments.h"
#include "bindings/dlpack.h"
#include "bindings/gil.h"
#include "cuda/device/hang.h"
#include "recipes/recipe.h"

namespace py = pybind11;
using namespace pybind11::literals;
namespace gpu = hnscore::gpu;
using hnscore::Recipe;

namespace {

using gpu::Address;
using gpu::at;
using gpu::CallContext;

constexpr const char* kApart[] = {"none", "lead", "ordered"};

void reduce(const CallContext& context, const gpu::Input& input, const gpu::PackedColumns& columns,
            const std::string& recipe, Address out, Address tau, const gpu::Rules& beside, const std::string& weight,
            double temperature, int64_t k, double divisor, int64_t cap, bool integer, Address choice, Address counts,
            Address begins, Address lists) {
    gpu::check_dims(input, columns.input);
    gpu::ReduceJob job{};
    job.recipe = static_cast<Recipe>(hnscore::index_of(hnscore::kRecipeNames, recipe, "recipe"));
    job.weight = static_cast<Recipe>(hnscore::index_of(hnscore::kRecipeNames, weight, "weight"));
    job.temperature = temperature;
    job.k = k;
    job.tau = at<const double>(tau);
    job.rules = beside;
    job.divisor = divisor;
    job.cap = cap;
    job.integer = integer;
    job.out = at<void>(out);
    job.choice = at<int>(choice);
    job.counts = at<int64_t>(counts);
    job.begins = at<const int64_t>(begins);
    job.lists = at<gpu::TopEntry>(lists);
    gpu::reduce(context.get(), input, columns, job);
}

void top(const CallContext& context, const gpu::Input& input, const gpu::Input& pool, const std::string& similarity,
         const std::string& precision, int64_t k, const gpu::Rules& beside, Address values, Address indices,
         Address kth_value, Address kth_row, Address rank_weights, Address sums) {
    gpu::check_dims(input, pool);
    const gpu::TopJob job{k,
                          beside,
                          at<double>(values),
                          at<int64_t>(indices),
                          at<double>(kth_value),
                          at<int64_t>(kth_row),
                          at<const double>(rank_weights),
                          at<double>(sums)};
    gpu::top(context.get(), input, pool, gpu::is_cosine(similarity), gpu::precision_of(precision), job);
}

void thresholds(const CallContext& context, Address reference, int64_t count,
                const std::array<double, hnscore::kMargins>& margins, Address tau) {
    gpu::thresholds(context.get(), at<const double>(reference), count, std::bit_cast<hnscore::Margins>(margins),
                    at<double>(tau));
}

std::vector<std::tuple<int, int64_t, int>> bad_rows(int device) {
    std::vector<std::tuple<int, int64_t, int>> out;
    const std::vector<uint64_t> words = gpu::take_reports(device);
    for (size_t side = 0; side < words.size(); ++side)
        if (words[side] != gpu::kNoBadRow)
            out.emplace_back(static_cast<int>(side), static_cast<int64_t>(words[side] >> 3),
                             static_cast<int>(words[side] & 7));
    return out;
}

}  // namespace

PYBIND11_MODULE(HNSCORE_MODULE, m, py::mod_gil_not_used()) {
    py::register_local_exception<gpu::GpuError>(m, "GpuError", PyExc_RuntimeError);
    py::register_local_exception<gpu::NoMemory>(m, "GpuMemoryError", PyExc_MemoryError);
    py::list archs;
    std::istringstream words(HNSCORE_CUDA_ARCHS);
    for (std::string word; words >> word;) archs.append(word);
    m.attr("ARCHS") = py::tuple(archs);
    m.attr("SIDES") = gpu::kSides;
    m.attr("REFERENCE_SIDE") = gpu::kReferenceSide;
#ifdef HNSCORE_EMULATE
    m.attr("EMULATED") = true;
    m.def("seed", &gpu::emulator::seed);
    m.def("set_capability", &gpu::emulator::set_capability);
    m.def("set_idle", &gpu::emulator::set_idle);
    m.def("sites", &gpu::emulator::sites);
    m.def("disable", &gpu::emulator::disable);
#else
    m.attr("EMULATED") = false;
#endif

    py::class_<gpu::Device>(m, "Device", py::module_local())
        .def_readonly("name", &gpu::Device::name)
        .def_property_readonly("capability", [](const gpu::Device& d) { return py::make_tuple(d.major, d.minor); })
        .def_readonly("processors", &gpu::Device::processors)
        .def_readonly("memory", &gpu::Device::memory)
        .def_property_readonly("arch", &gpu::arch_of);
    m.def("device_count", &gpu::device_count);
    m.def("device", &gpu::device, py::arg("index"));
    m.def(
        "capturing",
        [](int device, Address stream) {
            const gpu::DeviceGuard guard(device);
            return gpu::capturing(gpu::stream_at(stream));
        },
        py::arg("device"), py::arg("stream"));
    m.def(
        "synchronize",
        [](int device, Address stream) {
            const hnscore::WithoutGil without;
            const gpu::DeviceGuard guard(device);
            gpu::wait_for(gpu::stream_at(stream));
        },
        py::arg("device"), py::arg("stream"));
    m.def(
        "synchronize_device",
        [](int device) {
            const hnscore::WithoutGil without;
            const gpu::DeviceGuard guard(device);
            gpu::wait_for_device();
        },
        py::arg("device"));
    m.def(
        "copy_to_device",
        [](int device, Address stream, Address to, Address from, size_t n_bytes) {
            const hnscore::WithoutGil without;
            const gpu::DeviceGuard guard(device);
            gpu::copy_to_device(at<void>(to), at<const void>(from), n_bytes, gpu::stream_at(stream));
        },
        py::arg("device"), py::arg("stream"), py::arg("to"), py::arg("from_"), py::arg("n_bytes"));
    m.def(
        "copy_to_host",
        [](int device, Address stream, Address to, Address from, size_t n_bytes) {
            const hnscore::WithoutGil without;
            const gpu::DeviceGuard guard(device);
            gpu::copy_to_host(at<void>(to), at<const void>(from), n_bytes, gpu::stream_at(stream));
        },
        py::arg("device"), py::arg("stream"), py::arg("to"), py::arg("from_"), py::arg("n_bytes"));
    m.def("bad_rows", &bad_rows, py::arg("device"));
    m.def(
        "publish", [](int device, Address stream) { gpu::publish_reports(device, gpu::stream_at(stream)); },
        py::arg("device"), py::arg("stream"));
    m.def("hangs", &gpu::hang_text);
    m.def("memory_used", &gpu::memory_used, py::arg("device"));
    m.def("tuning", [] {
        const gpu::Tuning t = gpu::tuning();
        return py::dict("resident_steps"_a = t.resident_steps, "most_stages"_a = t.most_stages,
                        "apart"_a = kApart[static_cast<int>(t.apart)], "few_share"_a = t.few_share);
    });
    m.def(
        "set_tuning",
        [](int resident_steps, int most_stages, const std::string& apart, int few_share) {
            gpu::set_tuning({resident_steps, most_stages,
                             static_cast<gpu::Apart>(hnscore::index_of(kApart, apart, "way to set warpgroups apart")),
                             few_share});
        },
        py::kw_only(), py::arg("resident_steps"), py::arg("most_stages"), py::arg("apart"), py::arg("few_share"));

    py::class_<gpu::DeviceMemory, std::shared_ptr<gpu::DeviceMemory>>(m, "Memory", py::module_local())
        .def(py::init([](int device, Address stream, size_t n_bytes) {
                 return std::make_shared<gpu::DeviceMemory>(device, gpu::stream_at(stream), n_bytes);
             }),
             py::arg("device"), py::arg("stream"), py::arg("n_bytes"))
        .def_property_readonly("device", &gpu::DeviceMemory::device)
        .def_property_readonly("pointer",
                               [](const gpu::DeviceMemory& x) { return reinterpret_cast<Address>(x.data()); });
    py::class_<gpu::External>(m, "External", py::module_local())
        .def(py::init<const py::object&>(), py::arg("capsule"))
        .def_property_readonly("pointer", &gpu::External::pointer)
        .def_property_readonly("shape", &gpu::External::shape)
        .def_property_readonly("strides", &gpu::External::strides)
        .def_property_readonly("dtype", &gpu::External::dtype)
        .def_property_readonly("device", &gpu::External::device);
    m.def("to_dlpack", &gpu::to_dlpack, py::arg("memory"), py::arg("shape"), py::arg("dtype"));
    py::class_<gpu::PinnedMemory>(m, "PinnedMemory", py::module_local())
        .def(py::init<int, size_t>(), py::arg("device"), py::arg("n_bytes"))
        .def_property_readonly("pointer",
                               [](const gpu::PinnedMemory& x) { return reinterpret_cast<Address>(x.data()); });
    py::class_<gpu::CopyStream>(m, "CopyStream", py::module_local())
        .def(py::init<int>(), py::arg("device"))
        .def_property_readonly("stream", [](const gpu::CopyStream& x) { return reinterpret_cast<Address>(x.stream()); })
        .def(
            "wait_for", [](gpu::CopyStream& x, Address stream) { x.wait_for(gpu::stream_at(stream)); },
            py::arg("stream"))
        .def(
            "make_wait", [](gpu::CopyStream& x, Address stream) { x.make_wait(gpu::stream_at(stream)); },
            py::arg("stream"))
        .def("synchronize", &gpu::CopyStream::synchronize, py::call_guard<hnscore::WithoutGil>());

    py::class_<gpu::Mark>(m, "Mark", py::module_local())
        .def(py::init([](int device, Address stream) {
                 return std::make_unique<gpu::Mark>(device, gpu::stream_at(stream));
             }),
             py::arg("device"), py::arg("stream"))
        .def("passed", &gpu::Mark::passed);

    py::class_<gpu::Input>(m, "Rows", py::module_local())
        .def(py::init(&gpu::rows), py::arg("pointer"), py::arg("rows"), py::arg("dim"), py::arg("row_stride"),
             py::arg("col_stride"), py::arg("dtype"), py::arg("side"), py::arg("pick") = 0, py::arg("count") = -1)
        .def_property_readonly("count", [](const gpu::Input& x) { return x.rows.count; });
    py::class_<CallContext>(m, "Context", py::module_local())
        .def(py::init([](int device, Address stream, const std::function<Address(size_t)>& allocate,
                         int64_t slab_bytes) { return CallContext{device, stream, allocate, slab_bytes}; }),
             py::arg("device"), py::arg("stream"), py::arg("allocate"), py::arg("slab_bytes") = gpu::kSlabBytes);
    py::class_<gpu::PackedColumns>(m, "Columns", py::module_local())
        .def(py::init([](const CallContext& context, const gpu::Input& input, const std::string& similarity,
                         const std::string& precision, const std::string& method, bool keep) {
                 return gpu::PackedColumns(context.get(), input, gpu::is_cosine(similarity),
                                           gpu::precision_of(precision), gpu::method_of(method), keep);
             }),
             py::arg("context"), py::arg("rows"), py::arg("similarity"), py::arg("precision"), py::arg("method"),
             py::arg("keep"))
        .def_property_readonly("chunks", &gpu::PackedColumns::chunks)
        .def_readonly("nbytes", &gpu::PackedColumns::bytes);

    m.def(
        "copy_rows",
        [](const CallContext& context, const gpu::Input& input, Address out, int dtype, bool finite, bool or_infinity) {
            const auto type = dtype < 0 ? input.rows.view.dtype : static_cast<hnscore::DType>(dtype);
            gpu::copy_rows(context.get(), input, at<void>(out), type, finite, or_infinity);
        },
        py::arg("context"), py::arg("rows"), py::arg("out"), py::arg("dtype") = -1, py::kw_only(),
        py::arg("finite") = false, py::arg("or_infinity") = false);
    m.def(
        "pair_similarity",
        [](const CallContext& context, const gpu::Input& a, const gpu::Input& b, const std::string& similarity,
           Address out) {
            gpu::check_dims(a, b);
            gpu::pair_similarity(context.get(), a, b, gpu::is_cosine(similarity), at<double>(out));
        },
        py::arg("context"), py::arg("a"), py::arg("b"), py::arg("similarity"), py::arg("out"));
    py::class_<gpu::Rules>(m, "Rules", py::module_local())
        .def(py::init(&gpu::rules), py::kw_only(), py::arg("max_similarity") = 0,
             py::arg("max_similarity_of_rows") = false, py::arg("row_groups") = 0, py::arg("col_groups") = 0,
             py::arg("negative_groups_differ") = false, py::arg("row_owners") = 0, py::arg("col_owners") = 0,
             py::arg("kth_value") = 0, py::arg("kth_row") = 0, py::arg("skip_value") = 0, py::arg("skip_row") = 0);
    m.def("thresholds", &thresholds, py::arg("context"), py::arg("reference"), py::arg("count"), py::arg("margins"),
          py::arg("tau"));
    m.def("reduce", &reduce, py::arg("context"), py::arg("rows"), py::arg("columns"), py::arg("recipe"), py::arg("out"),
          py::kw_only(), py::arg("tau") = 0, py::arg("rules") = gpu::Rules{}, py::arg("weight") = "similarity",
          py::arg("temperature") = 1.0, py::arg("k") = 1, py::arg("divisor") = 1.0, py::arg("cap") = 0,
          py::arg("integer") = false, py::arg("choice") = 0, py::arg("counts") = 0, py::arg("begins") = 0,
          py::arg("lists") = 0);
    m.def("top", &top, py::arg("context"), py::arg("rows"), py::arg("pool"), py::arg("similarity"),
          py::arg("precision"), py::arg("k"), py::kw_only(), py::arg("rules") = gpu::Rules{}, py::arg("values") = 0,
          py::arg("indices") = 0, py::arg("kth_value") = 0, py::arg("kth_row") = 0, py::arg("rank_weights") = 0,
          py::arg("sums") = 0);
}

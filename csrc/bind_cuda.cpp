// Placeholder.
#include <pybind11/pybind11.h>

namespace hnscore::gpu {
int placeholder_backend();
}

PYBIND11_MODULE(HNSCORE_MODULE, m, pybind11::mod_gil_not_used()) {
    m.def("kernels", &hnscore::gpu::placeholder_backend);
}

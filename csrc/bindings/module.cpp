#include <pybind11/pybind11.h>

namespace hnscore {
void register_columns(pybind11::module_& m);
}
void register_config(pybind11::module_& m);
void register_engine(pybind11::module_& m);
void register_lists(pybind11::module_& m);
void register_select(pybind11::module_& m);
void register_gaussians(pybind11::module_& m);

// Nothing in the core needs the interpreter lock between a call's arguments and its result.
PYBIND11_MODULE(_core, m, pybind11::mod_gil_not_used()) {
    m.doc() = "The compiled core of hnscore; its types are in _core.pyi.";
    register_config(m);
    hnscore::register_columns(m);
    register_engine(m);
    register_lists(m);
    register_select(m);
    register_gaussians(m);
}

// What the bindings share: arrays as views, optional side arrays, and the way back to Python during a call.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <optional>
#include <stdexcept>
#include <string>

#include "core/team.h"
#include "core/view.h"

namespace hnscore {

constexpr int kSwapped = 256;

inline View view_of(const pybind11::array& a, int code) {
    if (a.ndim() != 2) throw std::invalid_argument("the core takes two-dimensional embeddings");
    return {static_cast<const char*>(a.data()),
            a.shape(0),
            a.shape(1),
            a.strides(0),
            a.strides(1),
            static_cast<DType>(code & ~kSwapped),
            (code & kSwapped) != 0};
}

template <class T>
using Side = std::optional<pybind11::array_t<T, pybind11::array::c_style>>;

template <class T>
const T* side(const Side<T>& a, int64_t length, const char* name) {
    if (!a) return nullptr;
    if (a->ndim() != 1 || a->shape(0) != length)
        throw std::invalid_argument(std::string(name) + " must have " + std::to_string(length) + " values");
    return a->data();
}

// Python's signals and the caller's progress function, from the thread that made the call.
inline Poll poll_of(const pybind11::object& progress) {
    return [&progress](double share) {
        const pybind11::gil_scoped_acquire gil;
        if (PyErr_CheckSignals() != 0) throw pybind11::error_already_set();
        if (!progress.is_none()) progress(share);
    };
}

}  // namespace hnscore

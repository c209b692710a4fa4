// What the bindings share: arrays as views, optional side arrays.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <optional>
#include <stdexcept>
#include <string>

#include "bindings/gil.h"
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

}  // namespace hnscore

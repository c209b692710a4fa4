// What the bindings share: a view of an array, and a call's interrupts and progress.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include "core/team.h"
#include "core/view.h"

// Added to the code of a dtype whose bytes are swapped.
constexpr int kSwapped = 256;

inline hnscore::View view_of(const pybind11::array& a, int code) {
    if (a.ndim() != 2) throw std::invalid_argument("the core takes two-dimensional embeddings");
    return {static_cast<const char*>(a.data()),
            a.shape(0),
            a.shape(1),
            a.strides(0),
            a.strides(1),
            static_cast<hnscore::DType>(code & ~kSwapped),
            (code & kSwapped) != 0};
}

// Python's signals and the caller's progress function, from the thread that made the call.
inline hnscore::Poll poll_of(const pybind11::object& progress) {
    return [&progress](double share) {
        const pybind11::gil_scoped_acquire gil;
        if (PyErr_CheckSignals() != 0) throw pybind11::error_already_set();
        if (!progress.is_none()) progress(share);
    };
}

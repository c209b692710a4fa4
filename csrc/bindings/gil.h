// Work without the interpreter lock, and the way back to Python during it.
#pragma once

#include <pybind11/pybind11.h>

#include <chrono>
#include <thread>

#include "core/team.h"

namespace hnscore {

// The interpreter lock, given back for as long as this lives.
class WithoutGil {
  public:
    WithoutGil() : state_(PyEval_SaveThread()) {}
    WithoutGil(const WithoutGil&) = delete;
    WithoutGil& operator=(const WithoutGil&) = delete;
    ~WithoutGil() { attach(); }

    // An interpreter that is being shut down ends a thread that asks for its lock, by unwinding the stack, which no
    // destructor survives. Such a thread sleeps until the process is gone, as it does from Python 3.14 on.
    void attach() const noexcept {
        try {
            PyEval_RestoreThread(state_);
        } catch (...) {
            for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
        }
    }

  private:
    PyThreadState* const state_;
};

// work(poll) without the interpreter lock. The poll looks for signals and tells `progress`, if that is not None, from
// the thread that made the call.
template <class Work>
auto without_gil(const pybind11::object& progress, const Work& work) {
    const WithoutGil without;
    return work(Poll([&](double share) {
        without.attach();
        const struct Detach {
            ~Detach() { PyEval_SaveThread(); }
        } detach;
        if (PyErr_CheckSignals() != 0) throw pybind11::error_already_set();
        if (!progress.is_none()) progress(share);
    }));
}

}  // namespace hnscore

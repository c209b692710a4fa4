// Starts kernels on CUDA. Included by runtime.h.
#pragma once

#include <tuple>
#include <utility>

#include "cuda/device/runtime.h"

namespace hnscore::gpu {

// Raises GpuError unless `error` is none.
void check(cudaError_t error, const std::string& attempted);

// While it lives, this thread may do what the capture of a graph by any stream forbids otherwise: take memory, load a
// kernel that runs for the first time. None of it belongs to the graph.
class BesideCapture {
  public:
    BesideCapture() { cudaThreadExchangeStreamCaptureMode(&mode_); }
    ~BesideCapture() { cudaThreadExchangeStreamCaptureMode(&mode_); }
    BesideCapture(const BesideCapture&) = delete;
    BesideCapture& operator=(const BesideCapture&) = delete;

  private:
    cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;
};

void launch_kernel(const Launch& how, const void* kernel, void** arguments);

// Arguments are converted to the kernel's parameters. The cluster is part of the kernel (HNSCORE_KERNEL_CLUSTER2).
template <class... P, class... A>
void launch(const Launch& how, void (*kernel)(P...), A&&... arguments) {
    static_assert(sizeof...(P) == sizeof...(A) && sizeof...(P) > 0);
    std::tuple<P...> values{std::forward<A>(arguments)...};
    std::apply(
        [&](P&... value) {
            void* pointers[] = {&value...};
            launch_kernel(how, reinterpret_cast<const void*>(kernel), pointers);
        },
        values);
}

}  // namespace hnscore::gpu

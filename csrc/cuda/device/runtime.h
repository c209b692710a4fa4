// What the host side asks of a GPU: devices, memory, streams, kernels. runtime.cu has it for CUDA, and in tests with
// -DHNSCORE_EMULATE tests/cpp/emulator/runtime.h for the emulator. Everything raises GpuError with a text that says
// what was attempted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "core/view.h"

#ifdef HNSCORE_EMULATE
#include "cuda/device/gpu.h"
namespace hnscore::gpu {
struct EmulatedStream;
using Stream = EmulatedStream*;
}  // namespace hnscore::gpu
#else
#include <cuda.h>
#include <cuda_runtime.h>
namespace hnscore::gpu {
using TensorMap = CUtensorMap;
using Stream = cudaStream_t;
}  // namespace hnscore::gpu
#endif

namespace hnscore::gpu {

struct GpuError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// There is not as much memory as was asked for.
struct NoMemory : GpuError {
    using GpuError::GpuError;
};

// ---- Devices.

struct Device {
    int index, major, minor;  // compute capability major.minor
    int processors;           // streaming multiprocessors
    size_t memory;            // bytes
    size_t shared_per_block;  // bytes, the most that a kernel can ask for
    std::string name;
};

int device_count();  // 0 where there is no driver
Device device(int index);

// Makes a device the current one of this thread, and at the end the former one again.
class DeviceGuard {
  public:
    explicit DeviceGuard(int index);
    ~DeviceGuard();
    DeviceGuard(const DeviceGuard&) = delete;
    DeviceGuard& operator=(const DeviceGuard&) = delete;

  private:
    int before_;
};

// ---- Memory and streams, on the current device. All in the order of the stream.

void* allocate(size_t bytes, Stream stream);
void release(void* memory, Stream stream) noexcept;
size_t memory_used(int device);  // bytes that were allocated and not released
void zero(void* memory, size_t bytes, Stream stream);
void copy_to_device(void* to, const void* from, size_t bytes, Stream stream);
void copy_to_host(void* to, const void* from, size_t bytes, Stream stream);

// Until everything on the stream is done: the first error of a kernel is raised here.
void wait_for(Stream stream);
void wait_for_device();  // everything on all streams of the current device

// True while the stream's work is recorded into a graph rather than done.
bool capturing(Stream stream);

// ---- Kernels.

// A matrix of f16 or bf16 for tma_load: boxes of box_rows rows and 64 elements, 128-byte swizzle, zeros beyond the end.
// Its first row is at `base`, 16-byte aligned, as is row_pitch, in bytes.
TensorMap tensor_map(const void* base, int64_t rows, int64_t row_pitch, int64_t depth, int box_rows, DType dtype);

struct Launch {
    int64_t blocks;
    int threads;           // of a block
    int shared_bytes = 0;  // dynamic shared memory of a block
    int cluster = 1;       // blocks of a cluster, 1 or 2
    Stream stream = nullptr;
};

}  // namespace hnscore::gpu

// template <class... P, class... A>
// void launch(const Launch&, void (*kernel)(P...), A&&... arguments);
#ifdef HNSCORE_EMULATE
#include "emulator/runtime.h"
#else
#include "cuda/device/launch.h"
#endif

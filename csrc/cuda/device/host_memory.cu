#include "cuda/device/host_memory.h"

#include <cstdlib>
#include <cstring>
#include <new>
#include <string>

namespace hnscore::gpu {

#ifndef HNSCORE_EMULATE

namespace {

// Queued work of `later` waits for what `earlier` has now.
void order(Stream earlier, Stream later) {
    cudaEvent_t event;
    check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "cudaEventCreate");
    const cudaError_t recorded = cudaEventRecord(event, earlier);
    const cudaError_t waited = recorded == cudaSuccess ? cudaStreamWaitEvent(later, event) : recorded;
    cudaEventDestroy(event);  // once it has happened
    check(waited, "order of two streams");
}

}  // namespace

void* mapped_memory(int device, size_t bytes) {
    void* memory = nullptr;
    const DeviceGuard guard(device);  // else the first call on another device would make a context on the current one
    const BesideCapture beside;
    check(cudaHostAlloc(&memory, bytes, cudaHostAllocMapped | cudaHostAllocPortable), "cudaHostAlloc");
    return memory;
}

void* lasting_memory(int device, size_t bytes, int byte) {
    void* memory = nullptr;
    const DeviceGuard guard(device);
    const BesideCapture beside;
    check(cudaMalloc(&memory, bytes), "cudaMalloc of " + std::to_string(bytes) + " bytes");
    const CopyStream aside(device);  // no stream that may be captured now
    check(cudaMemsetAsync(memory, byte, bytes, aside.stream()), "cudaMemsetAsync");
    check(cudaStreamSynchronize(aside.stream()), "cudaStreamSynchronize");
    return memory;
}

PinnedMemory::PinnedMemory(int device, size_t bytes) : data_(nullptr) {
    const DeviceGuard guard(device);
    check(cudaHostAlloc(&data_, bytes, cudaHostAllocPortable),
          "pinning " + std::to_string(bytes) + " bytes of host memory");
}
PinnedMemory::~PinnedMemory() { cudaFreeHost(data_); }

CopyStream::CopyStream(int device) : device_(device), stream_(nullptr) {
    const DeviceGuard guard(device);
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate");
}
CopyStream::~CopyStream() { cudaStreamDestroy(stream_); }
void CopyStream::wait_for(Stream other) {
    const DeviceGuard guard(device_);
    order(other, stream_);
}
void CopyStream::make_wait(Stream other) {
    const DeviceGuard guard(device_);
    order(stream_, other);
}

Mark::Mark(int device, Stream stream) : device_(device), event_(nullptr) {
    const DeviceGuard guard(device);
    cudaEvent_t event;
    check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "cudaEventCreate");
    event_ = event;
    check(cudaEventRecord(event, stream), "cudaEventRecord");
}
Mark::~Mark() { cudaEventDestroy(static_cast<cudaEvent_t>(event_)); }
bool Mark::passed() const {
    const DeviceGuard guard(device_);
    const cudaError_t error = cudaEventQuery(static_cast<cudaEvent_t>(event_));
    if (error == cudaErrorNotReady) return false;
    check(error, "cudaEventQuery");
    return true;
}

#else

void* mapped_memory(int, size_t bytes) { return std::malloc(bytes); }
void* lasting_memory(int, size_t bytes, int byte) { return std::memset(std::malloc(bytes), byte, bytes); }
PinnedMemory::PinnedMemory(int, size_t bytes) : data_(::operator new(bytes)) {}
PinnedMemory::~PinnedMemory() { ::operator delete(data_); }
CopyStream::CopyStream(int device) : device_(device), stream_(nullptr) {}
CopyStream::~CopyStream() = default;
void CopyStream::wait_for(Stream) {}
void CopyStream::make_wait(Stream) {}
Mark::Mark(int device, Stream) : device_(device), event_(nullptr) {}
Mark::~Mark() = default;
bool Mark::passed() const { return true; }

#endif

int checked_index(int device) {
    if (device < 0 || device >= kMostDevices) throw GpuError("no more than 64 GPUs");
    return device;
}

void CopyStream::synchronize() {
    const DeviceGuard guard(device_);
    gpu::wait_for(stream_);
}

DeviceMemory::DeviceMemory(int device, Stream stream, size_t bytes) : device_(device), stream_(stream) {
    const DeviceGuard guard(device);
    data_ = allocate(bytes, stream);
}
DeviceMemory::~DeviceMemory() {
    try {
        const DeviceGuard guard(device_);
        release(data_, stream_);
    } catch (const GpuError&) {  // the device is gone, and its memory with it
    }
}

}  // namespace hnscore::gpu

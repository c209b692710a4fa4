#include "cuda/host_memory.h"

#include <cstdlib>
#include <new>

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

void* mapped_memory(size_t bytes) {
    void* memory = nullptr;
    const BesideCapture beside;
    check(cudaHostAlloc(&memory, bytes, cudaHostAllocMapped | cudaHostAllocPortable), "cudaHostAlloc");
    return memory;
}

PinnedMemory::PinnedMemory(size_t bytes) : data_(nullptr) {
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
bool CopyStream::done() const {
    const DeviceGuard guard(device_);
    const cudaError_t error = cudaStreamQuery(stream_);
    if (error == cudaErrorNotReady) return false;
    check(error, "cudaStreamQuery");
    return true;
}

#else

void* mapped_memory(size_t bytes) { return std::malloc(bytes); }
PinnedMemory::PinnedMemory(size_t bytes) : data_(::operator new(bytes)) {}
PinnedMemory::~PinnedMemory() { ::operator delete(data_); }
CopyStream::CopyStream(int device) : device_(device), stream_(nullptr) {}
CopyStream::~CopyStream() = default;
void CopyStream::wait_for(Stream) {}
void CopyStream::make_wait(Stream) {}
bool CopyStream::done() const { return true; }

#endif

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

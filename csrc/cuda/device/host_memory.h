// Host memory that the device reads and writes, and a stream for copies beside the computation.
#pragma once

#include "cuda/device/runtime.h"

namespace hnscore::gpu {

constexpr int kMostDevices = 64;
int checked_index(int device);  // raises GpuError for one that has no place in a table of kMostDevices

// Never freed, since kernels of the process may still use them: memory of the host that a device writes to, and memory
// of a device, filled with a byte.
void* mapped_memory(int device, size_t bytes);
void* lasting_memory(int device, size_t bytes, int byte);

class PinnedMemory {
  public:
    PinnedMemory(int device, size_t bytes);
    ~PinnedMemory();
    PinnedMemory(const PinnedMemory&) = delete;
    PinnedMemory& operator=(const PinnedMemory&) = delete;
    void* data() const { return data_; }

  private:
    void* data_;
};

// Memory of the device, freed in the order of the stream that it was taken on.
class DeviceMemory {
  public:
    DeviceMemory(int device, Stream stream, size_t bytes);
    ~DeviceMemory();
    DeviceMemory(const DeviceMemory&) = delete;
    DeviceMemory& operator=(const DeviceMemory&) = delete;
    int device() const { return device_; }
    void* data() const { return data_; }

  private:
    int device_;
    Stream stream_;
    void* data_;
};

// A point of a stream, with nothing that waits for it.
class Mark {
  public:
    Mark(int device, Stream stream);
    ~Mark();
    Mark(const Mark&) = delete;
    Mark& operator=(const Mark&) = delete;
    bool passed() const;

  private:
    int device_;
    void* event_;
};

class CopyStream {
  public:
    explicit CopyStream(int device);
    ~CopyStream();
    CopyStream(const CopyStream&) = delete;
    CopyStream& operator=(const CopyStream&) = delete;
    Stream stream() const { return stream_; }
    void wait_for(Stream other);   // what is queued here from now on runs after what is queued there now
    void make_wait(Stream other);  // and the other way round
    void synchronize();

  private:
    int device_;
    Stream stream_;
};

}  // namespace hnscore::gpu

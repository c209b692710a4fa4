// Host memory that the device reads and writes, and a stream for copies beside the computation.
#pragma once

#include "cuda/runtime.h"

namespace hnscore::gpu {

// Never freed: the kernels of the process may still write to it.
void* mapped_memory(size_t bytes);

class PinnedMemory {
  public:
    explicit PinnedMemory(size_t bytes);
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

class CopyStream {
  public:
    explicit CopyStream(int device);
    ~CopyStream();
    CopyStream(const CopyStream&) = delete;
    CopyStream& operator=(const CopyStream&) = delete;
    Stream stream() const { return stream_; }
    void wait_for(Stream other);   // what is queued here from now on runs after what is queued there now
    void make_wait(Stream other);  // and the other way round
    bool done() const;             // whether nothing is queued here
    void synchronize();

  private:
    int device_;
    Stream stream_;
};

}  // namespace hnscore::gpu

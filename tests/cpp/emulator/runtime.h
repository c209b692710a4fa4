// The host side of a pretended GPU: memory of the device is memory of the host, and a kernel has ended when launch()
// returns.
#pragma once

#include <malloc.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <tuple>
#include <utility>

#include "cuda/device/runtime.h"
#include "emulator/emulator.h"

namespace hnscore::gpu {

namespace emulator {

inline size_t shared_per_block() {
    switch (machine.major * 10 + machine.minor) {
        case 75:
            return size_t{64} << 10;
        case 80:
        case 87:
            return size_t{163} << 10;
        case 86:
        case 89:
        case 120:
        case 121:
            return size_t{99} << 10;
        default:
            return size_t{227} << 10;
    }
}

}  // namespace emulator

inline int device_count() { return 1; }

inline Device device(int index) {
    if (index != 0) throw GpuError("no GPU " + std::to_string(index) + ": there is 1, the emulated one");
    return {0,
            emulator::machine.major,
            emulator::machine.minor,
            emulator::machine.processors,
            size_t{4} << 30,
            emulator::shared_per_block(),
            "emulated GPU"};
}

inline DeviceGuard::DeviceGuard(int index) : before_(0) { device(index); }
inline DeviceGuard::~DeviceGuard() = default;

namespace emulator {
inline std::atomic<size_t> memory_used{0};
}

inline size_t memory_used(int) { return emulator::memory_used; }

inline void* allocate(size_t bytes, Stream) {
    void* memory = std::aligned_alloc(256, (bytes + 256) / 256 * 256);
    if (memory == nullptr) throw NoMemory("out of memory: " + std::to_string(bytes) + " bytes wanted");
    emulator::memory_used += malloc_usable_size(memory);
    std::memset(memory, 0xFF, bytes);  // as good as anything that a device would leave there
    return memory;
}

inline void release(void* memory, Stream) noexcept {
    if (memory != nullptr) emulator::memory_used -= malloc_usable_size(memory);
    std::free(memory);
}

inline void zero(void* memory, size_t bytes, Stream) {
    if (bytes > 0) std::memset(memory, 0, bytes);
}
inline void copy_to_device(void* to, const void* from, size_t bytes, Stream) {
    if (bytes > 0) std::memcpy(to, from, bytes);
}
inline void copy_to_host(void* to, const void* from, size_t bytes, Stream) {
    if (bytes > 0) std::memcpy(to, from, bytes);
}
inline void wait_for(Stream) {}
inline void wait_for_device() {}
inline bool capturing(Stream) { return false; }

inline TensorMap tensor_map(const void* base, int64_t rows, int64_t row_pitch, int64_t depth, int box_rows,
                            DType dtype) {
    const bool ok = dtype <= DType::bf16 && reinterpret_cast<uintptr_t>(base) % 16 == 0 && row_pitch % 16 == 0 &&
                    row_pitch < int64_t{1} << 40 && rows > 0 && depth > 0 && rows <= int64_t{1} << 32 &&
                    depth <= int64_t{1} << 32 && box_rows >= 1 && box_rows <= 256;
    if (!ok)
        throw GpuError("tensor_map: a driver would refuse " + std::to_string(rows) + " rows of " +
                       std::to_string(depth) + " elements, " + std::to_string(row_pitch) +
                       " bytes apart, in boxes of " + std::to_string(box_rows) + " rows");
    return {static_cast<const uint8_t*>(base), rows, row_pitch, depth, box_rows};
}

template <class... P, class... A>
void launch(const Launch& how, void (*kernel)(P...), A&&... arguments) {
    const bool ok = how.blocks > 0 && how.blocks < int64_t{1} << 31 && how.threads > 0 && how.threads <= 1024 &&
                    how.shared_bytes >= 0 && static_cast<size_t>(how.shared_bytes) <= emulator::shared_per_block() &&
                    (how.cluster == 1 || (how.cluster == 2 && emulator::machine.major >= 9)) &&
                    how.blocks % how.cluster == 0;
    if (!ok)
        throw GpuError("launch: a driver would refuse " + std::to_string(how.blocks) + " blocks in clusters of " +
                       std::to_string(how.cluster) + ", " + std::to_string(how.threads) + " threads and " +
                       std::to_string(how.shared_bytes) + " bytes of shared memory each");
    struct Work {
        void (*kernel)(P...);
        std::tuple<P...> arguments;
    } work{kernel, {std::forward<A>(arguments)...}};
    const auto call = [](const void* p) {
        const auto* w = static_cast<const Work*>(p);
        std::apply(w->kernel, w->arguments);
    };
    emulator::machine.run({how.blocks, how.threads, how.shared_bytes, how.cluster}, call, &work);
}

}  // namespace hnscore::gpu

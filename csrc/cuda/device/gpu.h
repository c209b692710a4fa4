// What a kernel is written in: one name for each thing that a GPU thread can do. On a device they are instructions, in
// tests with -DHNSCORE_EMULATE functions of an emulator, so that the same kernel source runs on a machine without a
// GPU.
#pragma once

namespace hnscore::gpu {

// Types of packed operands.
struct Half {};
struct Bf16 {};

// What one load brings.
struct alignas(8) Float2 {
    float x, y;
};
struct alignas(16) Float4 {
    float x, y, z, w;
};

}  // namespace hnscore::gpu

#ifdef HNSCORE_EMULATE
#include "emulator/emulator.h"
#else
#include "cuda/device/gpu_device.h"
#endif

namespace hnscore::gpu {

HNSCORE_DEVICE int lane() { return thread() % 32; }  // in the warp

}  // namespace hnscore::gpu

// Who waits for what when a kernel hangs. With HNSCORE_HANG_SECONDS a barrier is waited for no longer than that: the
// warp then notes what it waits for, in memory of the host, which outlives the kernel, and traps. So a hang is an error
// that names itself.
#pragma once

#include <cstdint>
#include <string>

namespace hnscore::gpu {

// Where the warps of a device note it, kHangs words (wait.h); null in a build whose kernels wait for ever.
uint64_t* hang_words(int device);

// What the warps of all devices noted, by place, at most 8 places; "" where nothing hangs. It waits for no device.
std::string hang_text();

}  // namespace hnscore::gpu

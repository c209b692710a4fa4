// What kernels find in values that only they see, for whoever asks later: of each side of a call the first bad row.
//
//   kernels   the minimum of 8 * row + kind, in words of the device
//   publish   at the end of a call, in the order of its stream: what the words say goes to memory of the host, each
//             call to a slot of its own, and they are empty again
//   take      the minimum over the slots, which are empty again; it waits for nothing
//
// So nothing is reported twice, and nothing is lost unless kSlots calls have reported and nobody asked.
#pragma once

#include <cstdint>
#include <vector>

#include "cuda/device/runtime.h"

namespace hnscore::gpu {

constexpr int kSides = 12, kReferenceSide = kSides - 1;  // the last: similarities given as references
constexpr uint64_t kNoBadRow = ~uint64_t{0};

// kSides words of a device, for kernels.
uint64_t* report_words(int device);

void publish_reports(int device, Stream stream);

// For each side 8 * row + kind, or kNoBadRow; where the device was never used, none.
std::vector<uint64_t> take_reports(int device);

}  // namespace hnscore::gpu

#include "cuda/device/reports.h"

#include <algorithm>
#include <atomic>
#include <mutex>

#include "cuda/device/gpu.h"
#include "cuda/device/host_memory.h"

namespace hnscore::gpu {
namespace {

constexpr int kSlots = 32, kPublishThreads = 32;
static_assert(kSides <= kPublishThreads);

HNSCORE_KERNEL(kPublishThreads) publish_kernel(uint64_t* words, uint64_t* slot) {
    if (thread() >= kSides) return;
    const uint64_t found = atomic_exchange(words + thread(), kNoBadRow);
    if (found != kNoBadRow) slot[thread()] = found;
}

struct Reports {
    uint64_t* words = nullptr;  // of the device
    uint64_t* slots = nullptr;  // of the host, kSlots times kSides
    unsigned calls = 0;
};

std::mutex guard;
Reports reports[kMostDevices];

Reports& reports_of(int device) {  // under the guard
    Reports& r = reports[checked_index(device)];
    if (r.words == nullptr) {
        r.slots = static_cast<uint64_t*>(mapped_memory(device, kSlots * kSides * sizeof(uint64_t)));
        std::fill_n(r.slots, kSlots * kSides, kNoBadRow);
        r.words = static_cast<uint64_t*>(lasting_memory(device, kSides * sizeof(uint64_t), 0xff));
    }
    return r;
}

}  // namespace

uint64_t* report_words(int device) {
    const std::lock_guard<std::mutex> lock(guard);
    return reports_of(device).words;
}

void publish_reports(int device, Stream stream) {
    const DeviceGuard current(device);
    const std::lock_guard<std::mutex> lock(guard);
    Reports& r = reports_of(device);
    launch({1, kPublishThreads, 0, 1, stream}, publish_kernel, r.words, r.slots + r.calls++ % kSlots * kSides);
}

std::vector<uint64_t> take_reports(int device) {
    const std::lock_guard<std::mutex> lock(guard);
    std::vector<uint64_t> found(kSides, kNoBadRow);
    uint64_t* const slots = reports[checked_index(device)].slots;
    for (int i = 0; slots != nullptr && i < kSlots * kSides; ++i) {
        const std::atomic_ref<uint64_t> word(slots[i]);
        if (word.load() != kNoBadRow) found[i % kSides] = std::min(found[i % kSides], word.exchange(kNoBadRow));
    }
    return found;
}

}  // namespace hnscore::gpu

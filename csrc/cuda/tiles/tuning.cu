#include "cuda/tiles/tuning.h"

#include <mutex>
#include <stdexcept>
#include <string>

namespace hnscore::gpu {
namespace {

std::mutex tuning_guard;
Tuning tuning_now;

}  // namespace

Tuning tuning() {
    const std::lock_guard<std::mutex> lock(tuning_guard);
    return tuning_now;
}

void set_tuning(const Tuning& t) {
    if (t.resident_steps < 0 || t.resident_steps > 8 || t.most_stages < 2 || t.most_stages > 8 || t.few_share < 1)
        throw std::invalid_argument("resident_steps must be 0 to 8, most_stages 2 to 8, few_share at least 1; got " +
                                    std::to_string(t.resident_steps) + ", " + std::to_string(t.most_stages) + ", " +
                                    std::to_string(t.few_share));
    const std::lock_guard<std::mutex> lock(tuning_guard);
    tuning_now = t;
}

}  // namespace hnscore::gpu

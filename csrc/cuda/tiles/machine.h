// Which kernels a device runs, by the machine code in this build.
#pragma once

#include <algorithm>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include "cuda/device/runtime.h"
#include "cuda/tiles/kernels.h"

namespace hnscore::gpu {

inline int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t round_up(int64_t a, int64_t b) { return divide_up(a, b) * b; }

// What a device runs for one operand.
struct Engine {
    Operand operand;
    Shape shape;
    Start start;
    int shared_bytes, blocks_per_processor;
};

// The machine code of this build, a word each: sm_80, sm_90a, compute_80.
inline std::vector<std::string> archs() {
    std::istringstream words(HNSCORE_CUDA_ARCHS);
    return {std::istream_iterator<std::string>(words), {}};
}

// Whether a device runs an arch: its own major version and no later a minor one; PTX of any earlier version.
inline bool runs(const Device& d, const std::string& arch) {
    const bool ptx = arch.rfind("compute_", 0) == 0;
    const int version = std::stoi(arch.substr(arch.find('_') + 1)), major = version / 10, minor = version % 10;
    if (arch.back() == 'a') return d.major == major && d.minor == minor;
    return ptx ? 10 * d.major + d.minor >= version : d.major == major && d.minor >= minor;
}

inline bool runs_one(const Device& d, bool (*serves)(const std::string& arch)) {
    const std::vector<std::string> all = archs();
    return std::any_of(all.begin(), all.end(), [&](const std::string& arch) { return serves(arch) && runs(d, arch); });
}
inline bool has_wgmma(const Device& d) {
    return runs_one(d, [](const std::string& arch) { return arch == "sm_90a"; });
}
inline bool has_mma(const Device& d) {
    return runs_one(d, [](const std::string& arch) { return arch != "sm_75" && arch != "sm_90a"; });
}

// The operand of a device for values rounded to `rounded`: float32 where there are no tensor cores for them.
inline Operand operand_for(const Device& d, Operand rounded) {
    return has_wgmma(d) || has_mma(d) ? rounded : Operand::single;
}

inline Engine engine_for(const Device& d, Operand operand, int64_t depth, const Tuning& tuned) {
    const int limit = static_cast<int>(d.shared_per_block);
    const auto shared_bytes = [&](const Shape& shape, int most) { return shape.shared_bytes(depth, most, tuned); };
    if (operand == Operand::single) return {operand, kSimt, start_simt, shared_bytes(kSimt, limit), kSimtBlocks};
    [[maybe_unused]] const bool half = operand == Operand::half;  // a build may have neither
#ifdef HNSCORE_HAS_WGMMA
    if (has_wgmma(d))
        return {operand, kWgmma, half ? start_wgmma_half : start_wgmma_bf16, shared_bytes(kWgmma, limit), 1};
#endif
#ifdef HNSCORE_HAS_MMA
    // A processor has 1 KiB more than a block can ask for, and keeps 1 KiB of each block for itself.
    const int shared = shared_bytes(kMma, limit / 2 - 512);
    const Start start = half ? start_mma_half : start_mma_bf16;
    if (shared > 0) return {operand, kMma, start, shared, 2};
    return {operand, kMma, start, shared_bytes(kMma, limit), 1};
#endif
    throw GpuError("this build has no tensor-core kernels for GPU " + d.name);
}

}  // namespace hnscore::gpu

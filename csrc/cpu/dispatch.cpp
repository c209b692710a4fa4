#include "cpu/dispatch.h"

#include <atomic>
#include <cstdlib>
#include <stdexcept>

namespace hnscore {

// One row per target, worst first. To add one: its file in cpu/targets, its flags in CMakeLists.txt, its row here.
namespace scalar {
extern const Target kTarget;
}
#if defined(__x86_64__)
namespace avx2 {
extern const Target kTarget;
}
namespace avx512 {
extern const Target kTarget;
}
namespace avx512vnni {
extern const ScreenKernels kScreenCodes;
extern int64_t (*const kListVbmi2)(const uint32_t*, int64_t, uint16_t*);
}  // namespace avx512vnni
namespace avx512bf16 {
extern const Kernels kKernels;
}
#elif defined(__aarch64__)
namespace neon {
extern const Target kTarget;
}
#endif

namespace {

struct Entry {
    Target target;
    bool supported;
};

#if defined(__x86_64__)
// avx512 with 8-bit screens, and that with bf16 products.
Target with_vnni() {
    Target target = avx512::kTarget;
    target.name = "avx512vnni";
    target.screen = avx512vnni::kScreenCodes;
    if (__builtin_cpu_supports("avx512vbmi2")) target.screen.list = avx512vnni::kListVbmi2;
    return target;
}
Target with_bf16() {
    Target target = with_vnni();
    target.name = "avx512bf16";
    target.bf16 = avx512bf16::kKernels;
    target.native_bf16 = true;
    return target;
}
#endif

const std::vector<Entry>& table() {
    static const std::vector<Entry> entries = [] {
        std::vector<Entry> t{{scalar::kTarget, true}};
#if defined(__x86_64__)
        __builtin_cpu_init();
        const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                          __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("f16c");
        const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                            __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                            __builtin_cpu_supports("avx512cd");
        t.push_back({avx2::kTarget, avx2});
        t.push_back({avx512::kTarget, avx512});
        const bool vnni = avx512 && __builtin_cpu_supports("avx512vnni");
        t.push_back({with_vnni(), vnni});
        t.push_back({with_bf16(), vnni && __builtin_cpu_supports("avx512bf16")});
#elif defined(__aarch64__)
        t.push_back({neon::kTarget, true});
#endif
        return t;
    }();
    return entries;
}

std::string listed(const std::vector<std::string>& names) {
    std::string out;
    for (const std::string& n : names) out += (out.empty() ? "" : ", ") + n;
    return out;
}

const Target& find(const std::string& name, const std::string& source) {
    for (const Entry& e : table())
        if (e.supported && name == e.target.name) return e.target;
    throw std::invalid_argument(
        source + " is '" + name + "'; expected one that this machine supports: " + listed(supported_targets()) +
        " (compiled: " + listed(compiled_targets()) + "); choose one of these, or leave it out");
}

std::atomic<const Target*> chosen{nullptr};

}  // namespace

const Target& current_target() {
    if (const Target* t = chosen.load()) return *t;
    const char* forced = std::getenv("HNSCORE_TARGET");
    const Target& t = forced != nullptr && *forced != 0 ? find(forced, "HNSCORE_TARGET")
                                                        : find(supported_targets().back(), "the best target");
    chosen.store(&t);
    return t;
}

void set_target(const std::string& name) { chosen.store(&find(name, "target")); }

std::vector<std::string> compiled_targets() {
    std::vector<std::string> names;
    for (const Entry& e : table()) names.emplace_back(e.target.name);
    return names;
}

std::vector<std::string> supported_targets() {
    std::vector<std::string> names;
    for (const Entry& e : table())
        if (e.supported) names.emplace_back(e.target.name);
    return names;
}

}  // namespace hnscore

#include "cpu/target/dispatch.h"

#include <atomic>
#include <cstdlib>
#include <stdexcept>

#include "core/system.h"
#include "cpu/target/processor.h"

namespace hnscore {

// One row per target, worst first. To add one: its file in cpu/target/isa, its flags in CMakeLists.txt, its row here.
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
extern const Burst kInt8Burst;
}  // namespace avx512vnni
namespace avx512bf16 {
extern const Kernels kKernels;
extern const Burst kBf16Burst;
}  // namespace avx512bf16
namespace amx {
extern const Kernels kExact, kRounded;
extern const ScreenKernels kScreen;
extern const Burst kInt8Burst, kBf16Burst;
}  // namespace amx
namespace amx_emulated {
extern const Kernels kExact, kRounded;
extern const ScreenKernels kScreen;
extern const Burst kInt8Burst, kBf16Burst;
}  // namespace amx_emulated
#elif defined(__aarch64__)
namespace neon {
extern const Target kTarget;
}
namespace neondot {
extern const ScreenKernels kScreenCodes;
}
#endif

namespace {

struct Entry {
    Target target;
    std::string missing;              // of the processor or the system; empty: nothing
    const std::string& (*refusal)();  // likewise, but only to be asked by who is about to use it
    bool emulated;                    // for tests: never chosen by itself
    bool slow;                        // likewise, though it is there
};

const std::string& nothing() {
    static const std::string none;
    return none;
}

#if defined(__x86_64__)
using processor::Set;

// avx512 with 8-bit screens; that with bf16 products; that with matrix registers.
Target with_vnni() {
    Target target = avx512::kTarget;
    target.name = "avx512vnni";
    target.screen = avx512vnni::kScreenCodes;
    target.int8_burst = avx512vnni::kInt8Burst;
    if (processor::has(Set::avx512_vbmi2)) target.screen.list = avx512vnni::kListVbmi2;
    return target;
}
Target with_bf16() {
    Target target = with_vnni();
    target.name = "avx512bf16";
    target.bf16 = avx512bf16::kKernels;
    target.bf16_burst = avx512bf16::kBf16Burst;
    return target;
}
Target with_tiles(const char* name, const Kernels& exact, const Kernels& rounded, const ScreenKernels& screen,
                  Burst int8_burst, Burst bf16_burst) {
    Target target = with_bf16();
    target.name = name;
    target.exact = exact;
    target.bf16 = rounded;
    target.screen = screen;
    target.int8_burst = int8_burst;
    target.bf16_burst = bf16_burst;
    return target;
}

// Names of the instruction sets that the processor lacks.
class Lacking {
  public:
    Lacking& needs(const char* name, processor::Set set) {
        if (!processor::has(set))
            text_ += (text_.empty() ? "the processor or its system has no " : ", ") + std::string(name);
        return *this;
    }
    const std::string& text() const { return text_; }

  private:
    std::string text_;
};

std::string missing_for_amx() {
    if (const char* wanted = std::getenv("HNSCORE_AMX"); wanted != nullptr && std::string(wanted) == "0")
        return "HNSCORE_AMX is 0";
    Lacking lacking;
    lacking.needs("AMX-TILE", Set::amx_tile).needs("AMX-INT8", Set::amx_int8).needs("AMX-BF16", Set::amx_bf16);
    if (!lacking.text().empty()) return lacking.text();
    return processor::has_palette() ? "" : "the processor's matrix registers are smaller than 8 of 16 x 64 bytes";
}
#elif defined(__aarch64__)
// neon with 8-bit screens.
Target with_dot() {
    Target target = neon::kTarget;
    target.name = "neondot";
    target.screen = neondot::kScreenCodes;
    return target;
}
#endif

const std::vector<Entry>& table() {
    // Never freed: a thread may still be inside a kernel when the process ends.
    static const auto* const entries = [] {
        auto* made = new std::vector<Entry>;
        std::vector<Entry>& t = *made;
        t.push_back({scalar::kTarget, "", nothing, false, false});
#if defined(__x86_64__)
        Lacking lacking;
        lacking.needs("AVX2", Set::avx2).needs("FMA", Set::fma).needs("BMI2", Set::bmi2).needs("F16C", Set::f16c);
        t.push_back({avx2::kTarget, lacking.text(), nothing, false, false});
        lacking.needs("AVX512F", Set::avx512f)
            .needs("AVX512BW", Set::avx512bw)
            .needs("AVX512DQ", Set::avx512dq)
            .needs("AVX512VL", Set::avx512vl)
            .needs("AVX512CD", Set::avx512cd);
        t.push_back({avx512::kTarget, lacking.text(), nothing, false, false});
        lacking.needs("AVX512_VNNI", Set::avx512_vnni);
        t.push_back({with_vnni(), lacking.text(), nothing, false, false});
        lacking.needs("AVX512_BF16", Set::avx512_bf16);
        // vdpbf16ps, of two products a lane, takes four times as long on Intel's processors as a float32 multiply-add;
        // on AMD's as long.
        t.push_back({with_bf16(), lacking.text(), nothing, false, processor::is_intel()});
        t.push_back({with_tiles("amx", amx::kExact, amx::kRounded, amx::kScreen, amx::kInt8Burst, amx::kBf16Burst),
                     lacking.text().empty() ? missing_for_amx() : lacking.text(), system::request_matrix_registers,
                     false, false});
        t.push_back({with_tiles("amx_emulated", amx_emulated::kExact, amx_emulated::kRounded, amx_emulated::kScreen,
                                amx_emulated::kInt8Burst, amx_emulated::kBf16Burst),
                     lacking.text(), nothing, true, false});
#elif defined(__aarch64__)
        t.push_back({neon::kTarget, "", nothing, false, false});
        const char* const without = system::has_dot_products() ? "" : "the processor has no FEAT_DotProd (sdot)";
        t.push_back({with_dot(), without, nothing, false, false});
#endif
        return made;
    }();
    return *entries;
}

std::string listed(const std::vector<std::string>& names) {
    std::string out;
    for (const std::string& n : names) out += (out.empty() ? "" : ", ") + n;
    return out;
}

const Target& find(const std::string& name, const std::string& source) {
    std::string why = "compiled: " + listed(compiled_targets());
    for (const Entry& e : table()) {
        if (name != e.target.name) continue;
        if (e.missing.empty() && e.refusal().empty()) return e.target;
        why = name + ": " + (e.missing.empty() ? e.refusal() : e.missing);
    }
    throw std::invalid_argument(source + " is '" + name + "'; expected one that this machine supports: " +
                                listed(supported_targets()) + " (" + why + "); choose one of these, or leave it out");
}

const Target& best() {
    const Target* found = nullptr;
    for (const Entry& e : table())
        if (!e.emulated && !e.slow && e.missing.empty() && e.refusal().empty()) found = &e.target;
    return *found;
}

std::atomic<const Target*> chosen{nullptr};

}  // namespace

const Target& current_target() {
    if (const Target* t = chosen.load()) return *t;
    const char* forced = std::getenv("HNSCORE_TARGET");
    const Target& t = forced != nullptr && *forced != 0 ? find(forced, "HNSCORE_TARGET") : best();
    chosen.store(&t);
    return t;
}

std::string target_reason() {
    const char* forced = std::getenv("HNSCORE_TARGET");
    const Target& t = current_target();
    if (forced != nullptr && std::string(forced) == t.name) return "HNSCORE_TARGET";
    return &t == &best() ? "the fastest that this machine can run" : "chosen by a test";
}

void set_target(const std::string& name) { chosen.store(&find(name, "target")); }

std::vector<std::string> compiled_targets() {
    std::vector<std::string> names;
    for (const Entry& e : table())
        if (!e.emulated) names.emplace_back(e.target.name);
    return names;
}

std::vector<std::string> supported_targets() {
    std::vector<std::string> names;
    for (const Entry& e : table())
        if (!e.emulated && e.missing.empty()) names.emplace_back(e.target.name);
    return names;
}

std::vector<std::string> emulated_targets() {
    std::vector<std::string> names;
    for (const Entry& e : table())
        if (e.emulated && e.missing.empty()) names.emplace_back(e.target.name);
    return names;
}

std::vector<std::pair<std::string, std::string>> missing_targets() {
    std::vector<std::pair<std::string, std::string>> reasons;
    for (const Entry& e : table()) {
        const std::string& why = e.missing.empty() ? e.refusal() : e.missing;
        if (!e.emulated && !why.empty()) reasons.emplace_back(e.target.name, why);
    }
    return reasons;
}

}  // namespace hnscore

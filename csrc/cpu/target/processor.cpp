#include "cpu/target/processor.h"

#if defined(__x86_64__)
#include <cpuid.h>

#include <cstdint>

namespace hnscore::processor {
namespace {

enum Register { eax, ebx, ecx, edx };

struct Where {
    unsigned leaf, subleaf;
    Register reg;
    int bit;
    uint64_t state;  // the bits of XCR0 that the system must have set
};

constexpr uint64_t kAvx = 0x6, kAvx512 = 0xe6, kTiles = 3u << 17;

// Intel's manual, volume 2, CPUID; in the order of Set.
constexpr Where kWhere[] = {
    {7, 0, ebx, 5, kAvx},      // avx2
    {1, 0, ecx, 12, kAvx},     // fma
    {7, 0, ebx, 8, 0},         // bmi2
    {1, 0, ecx, 29, kAvx},     // f16c
    {7, 0, ebx, 16, kAvx512},  // avx512f
    {7, 0, ebx, 30, kAvx512},  // avx512bw
    {7, 0, ebx, 17, kAvx512},  // avx512dq
    {7, 0, ebx, 31, kAvx512},  // avx512vl
    {7, 0, ebx, 28, kAvx512},  // avx512cd
    {7, 0, ecx, 6, kAvx512},   // avx512_vbmi2
    {7, 0, ecx, 11, kAvx512},  // avx512_vnni
    {7, 1, eax, 5, kAvx512},   // avx512_bf16
    {7, 0, edx, 24, kTiles},   // amx_tile
    {7, 0, edx, 25, kTiles},   // amx_int8
    {7, 0, edx, 22, kTiles},   // amx_bf16
};
static_assert(sizeof kWhere / sizeof *kWhere == static_cast<int>(Set::amx_bf16) + 1);

bool read(unsigned leaf, unsigned subleaf, unsigned (&out)[4]) {
    return __get_cpuid_count(leaf, subleaf, &out[eax], &out[ebx], &out[ecx], &out[edx]) != 0;
}

// Which registers the system keeps when it switches between threads.
uint64_t kept_state() {
    unsigned out[4];
    if (!read(1, 0, out) || (out[ecx] >> 27 & 1) == 0) return 0;  // no OSXSAVE
    unsigned low = 0, high = 0;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return uint64_t{high} << 32 | low;
}

}  // namespace

bool has(Set set) {
    const Where& where = kWhere[static_cast<int>(set)];
    unsigned out[4];
    if (where.leaf == 7 && where.subleaf == 1 && (!read(7, 0, out) || out[eax] < 1)) return false;
    return read(where.leaf, where.subleaf, out) && (out[where.reg] >> where.bit & 1) != 0 &&
           (kept_state() & where.state) == where.state;
}

bool is_intel() {
    unsigned out[4];
    return read(0, 0, out) && out[ebx] == signature_INTEL_ebx;
}

bool has_palette() {
    unsigned out[4];
    return read(0x1d, 1, out) && (out[ebx] >> 16) >= 8 && (out[ebx] & 0xffff) >= 64 && (out[ecx] & 0xffff) >= 16;
}

}  // namespace hnscore::processor
#endif

#include "core/system.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <thread>

#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <malloc.h>
#include <windows.h>

#include <bit>
#else
#include <sys/mman.h>
#include <unistd.h>

#include <csignal>
#endif
#if defined(__linux__)
#include <sched.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace hnscore::system {
namespace {

int processors_of_the_machine() {
    const unsigned n = std::thread::hardware_concurrency();
    return n > 0 ? static_cast<int>(n) : 1;
}

}  // namespace

#if defined(_WIN32)

void* allocate(int64_t bytes, int64_t alignment) {
    return _aligned_malloc(static_cast<size_t>(bytes), static_cast<size_t>(alignment));
}
void free(void* memory) { _aligned_free(memory); }

void* reserve(size_t bytes) { return VirtualAlloc(nullptr, bytes, MEM_RESERVE, PAGE_NOACCESS); }
void release(void* addresses, size_t) { VirtualFree(addresses, 0, MEM_RELEASE); }

int available_processors() {
    DWORD_PTR ours = 0, all = 0;
    if (GetProcessAffinityMask(GetCurrentProcess(), &ours, &all) != 0 && ours != 0)
        return std::popcount(static_cast<uint64_t>(ours));
    return processors_of_the_machine();  // more than 64, in several groups
}

void exit_on_bus_error(const std::string&) {}

#else

void* allocate(int64_t bytes, int64_t alignment) {
    const auto size = static_cast<size_t>((bytes + alignment - 1) / alignment * alignment);
    void* memory = std::aligned_alloc(static_cast<size_t>(alignment), size);
#if defined(MADV_HUGEPAGE)
    if (memory != nullptr && alignment == kHugePage) madvise(memory, size, MADV_HUGEPAGE);
#endif
    return memory;
}
void free(void* memory) { std::free(memory); }

void* reserve(size_t bytes) {
#if !defined(MAP_NORESERVE)
#define MAP_NORESERVE 0
#endif
    void* addresses = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return addresses == MAP_FAILED ? nullptr : addresses;
}
void release(void* addresses, size_t bytes) { munmap(addresses, bytes); }

int available_processors() {
#if defined(__linux__)
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
    return processors_of_the_machine();
}

namespace {
char bus_error_message[256];

void end_on_bus_error(int) {
    // Whether or not anybody hears it.
    [[maybe_unused]] const ssize_t written = write(2, bus_error_message, std::strlen(bus_error_message));
    _exit(2);
}
}  // namespace

void exit_on_bus_error(const std::string& message) {
    std::strncpy(bus_error_message, message.c_str(), sizeof bus_error_message - 1);
    std::signal(SIGBUS, end_on_bus_error);
}

#endif

bool has_dot_products() {
#if !defined(__aarch64__)
    return false;
#elif defined(__linux__)
    constexpr unsigned long kAsimdDp = 1 << 20;  // HWCAP_ASIMDDP
    return (getauxval(AT_HWCAP) & kAsimdDp) != 0;
#elif defined(__APPLE__)
    int has = 0;
    size_t size = sizeof has;
    return sysctlbyname("hw.optional.arm.FEAT_DotProd", &has, &size, nullptr, 0) == 0 && has != 0;
#elif defined(_WIN32)
    constexpr DWORD kDotProducts = 43;  // PF_ARM_V82_DP_INSTRUCTIONS_AVAILABLE
    return IsProcessorFeaturePresent(kDotProducts) != 0;
#else
    return false;
#endif
}

// Linux gives the registers to processes that ask. Not asked before they are wanted: afterwards no thread of the
// process can have a small stack for signals.
const std::string& request_matrix_registers() {
    static const std::string refusal = []() -> std::string {
#if defined(__linux__) && defined(__x86_64__)
        constexpr long kRequest = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM
        if (syscall(SYS_arch_prctl, kRequest, kTileData) == 0) return {};
        const int error = errno;
        std::string text = "Linux refused AMX to this process: " + std::string(std::strerror(error));
        if (error == ENOSPC) text += " (a thread has a stack for signals, by sigaltstack, that is too small)";
        if (error == EINVAL || error == ENOSYS) text += " (kernels before 5.16, and some sandboxes)";
        return text;
#else
        return "AMX is used on Linux only";
#endif
    }();
    return refusal;
}

}  // namespace hnscore::system

// The vocabulary of cuda/device/gpu.h for the host: kernels in plain C++, run by the machine of machine.h.
//
// What hardware demands and plain execution would not notice is an error here, thrown out of launch(): a fence or wait
// left out, a barrier used before it can be seen, an accumulator read too early, a hang. Every synchronising call
// knows its place in the source; disable() leaves one out.
//
// Not noticed: what goes wrong between two synchronising calls of one thread, which run undisturbed (an atomic
// operation that should have been one), and what only an instruction's own rules forbid (registers, warps that diverge
// and meet). A kernel that waits in a loop for other blocks never ends here: clusters run one after another.
//
// To be read in this order: state.h, machine.h (who runs next), fiber.h, async.h (barriers, copies), tensor_core.h,
// wgmma.h, and runtime.h for the host's side.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include "cuda/device/wait.h"
#include "emulator/async.h"
#include "emulator/half.h"
#include "emulator/machine.h"
#include "emulator/tensor_core.h"
#include "emulator/wgmma.h"

#define HNSCORE_DEVICE inline
#define HNSCORE_DEVICE_CALL inline
#define HNSCORE_BOTH inline
#define HNSCORE_KERNEL(threads) void
#define HNSCORE_KERNEL_BLOCKS(threads, blocks) void
#define HNSCORE_KERNEL_CLUSTER2(threads) void
#define HNSCORE_GRID_CONSTANT

namespace hnscore::gpu {

namespace emulator {

inline void seed(unsigned s) { machine.seed(s); }

// The pretended device.
inline void set_capability(int major, int minor, int processors) {
    machine.major = major;
    machine.minor = minor;
    machine.processors = processors;
}

inline void set_idle(bool idle) { machine.idle = idle; }

// Where kernels synchronised so far, "file:line name" each; leaves one of them out from now on, "" none.
inline std::vector<std::string> sites() { return all_sites.list(); }
inline void forget_sites() { all_sites.forget(); }
inline void disable(const std::string& site) { all_sites.disable(site); }

inline bool skip(const Call& call) { return all_sites.skip(call.name, call.site); }

// The value that `from` of the warp's lanes brings.
template <class T>
inline T exchange(T value, int from, const Call& call) {
    static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 8);
    Warp::Lane mine{};
    std::memcpy(&mine.value, &value, sizeof value);
    const Warp::Lane* all = &together(call, mine, [](auto&) {}) - self().index % 32;
    std::memcpy(&value, &all[from & 31].value, sizeof value);
    return value;
}

}  // namespace emulator

using emulator::Site;
using emulator::TensorMap;

// ---- Who and where.

inline int thread() { return emulator::self().index; }
inline int block() { return static_cast<int>(emulator::self().block->index); }
inline int blocks() { return static_cast<int>(emulator::machine.schedule.blocks); }
inline int cluster_rank() { return emulator::self().block->rank; }
inline uint8_t* shared(Site site = Site::current()) {
    if (emulator::machine.schedule.shared_bytes == 0)
        emulator::machine.fail({"shared", site}, "the launch asked for no dynamic shared memory");
    return emulator::self().block->shared;
}
inline int shared_size() { return emulator::machine.schedule.shared_bytes; }
inline uint32_t shared_address(const void* p, Site site = Site::current()) {
    return emulator::address_of(*emulator::self().block, p, {"shared_address", site});
}

// ---- Together with the block, the warp, the cluster.

inline void sync(Site site = Site::current()) {
    const emulator::Call call{"sync", site};
    if (!emulator::skip(call)) emulator::machine.sync_block(call);
}

inline void sync_warp(Site site = Site::current()) {
    const emulator::Call call{"sync_warp", site};
    if (!emulator::skip(call)) emulator::together(call, {}, [](auto&) {});
}

template <int ID>
inline void sync_group(Site site = Site::current()) {
    static_assert(ID >= 1 && ID < 16);  // 0 is sync()
    const emulator::Call call{"sync_group", site};
    if (!emulator::skip(call)) emulator::machine.arrive(emulator::self().block->groups[ID], 128, call);
}

inline void cluster_sync(Site site = Site::current()) {
    const emulator::Call call{"cluster_sync", site};
    emulator::require_capability(9, call);
    if (!emulator::skip(call)) emulator::machine.sync_cluster(call);
}

template <class T>
inline T shfl(T value, int lane, Site site = Site::current()) {
    return emulator::exchange(value, lane, {"shfl", site});
}

template <class T>
inline T shfl_xor(T value, int mask, Site site = Site::current()) {
    return emulator::exchange(value, thread() % 32 ^ mask, {"shfl_xor", site});
}

inline uint32_t ballot(bool value, Site site = Site::current()) {
    emulator::Warp::Lane mine{};
    mine.value = value;
    const auto collect = [](auto& lanes) {
        uint64_t bits = 0;
        for (int i = 0; i < 32; ++i) bits |= lanes[i].value << i;
        for (auto& lane : lanes) lane.value = bits;
    };
    return static_cast<uint32_t>(emulator::together({"ballot", site}, mine, collect).value);
}

// ---- Numbers and memory.

inline float ex2(float x) {
    const auto normal = [](float y) { return std::fabs(y) < 0x1p-126f ? std::copysign(0.0f, y) : y; };
    return normal(std::exp2(normal(x)));
}

inline uint16_t to_half(float x) { return emulator::half_bits(x); }
inline float from_half(uint16_t bits) { return emulator::half_value(bits); }
inline uint16_t to_bf16(float x) { return emulator::bf16_bits(x); }
inline float from_bf16(uint16_t bits) { return emulator::bf16_value(bits); }

template <class T>
inline T load_whole(const T* p, const emulator::Call& call) {
    if (reinterpret_cast<uintptr_t>(p) % sizeof(T) != 0)
        emulator::machine.fail(call, "the address must be " + std::to_string(sizeof(T)) + "-byte aligned");
    return *p;
}
inline Float2 load2(const Float2* p, Site site = Site::current()) { return load_whole(p, {"load2", site}); }
inline Float4 load4(const Float4* p, Site site = Site::current()) { return load_whole(p, {"load4", site}); }

inline uint64_t atomic_min(uint64_t* p, uint64_t value) {
    const uint64_t old = *p;
    if (value < old) *p = value;
    return old;
}
inline uint64_t atomic_exchange(uint64_t* p, uint64_t value) { return std::exchange(*p, value); }
inline void atomic_max(float* p, float value) { *p = *p < value ? value : *p; }
inline int atomic_add(int* p, int value) { return std::exchange(*p, *p + value); }
inline unsigned long long atomic_add(unsigned long long* p, unsigned long long value) {
    return std::exchange(*p, *p + value);
}

// ---- Copies by threads, matrices in fragments (compute capability 8.0).

inline void copy_async16(uint32_t to, const void* from, int bytes, Site site = Site::current()) {
    emulator::start_chunk(to, from, bytes, {"copy_async16", site});
}

inline void copy_async_commit(Site site = Site::current()) {
    if (!emulator::skip({"copy_async_commit", site})) emulator::commit_chunks();
}

template <int N>
inline void copy_async_wait(Site site = Site::current()) {
    const emulator::Call call{"copy_async_wait", site};
    if (!emulator::skip(call)) emulator::wait_for_chunks(N, call);
}

// Four matrices of 8 x 8: lane 8 i + r brings the address of row r of matrix i.
inline void load_matrix4(uint32_t (&r)[4], uint32_t address, Site site = Site::current()) {
    const emulator::Call call{"load_matrix4", site};
    emulator::require_capability(8, call);
    if (address % 16 != 0) emulator::machine.fail(call, "the address must be 16-byte aligned");
    const uint8_t* row = emulator::shared_memory(*emulator::self().block, address, 16, call);
    emulator::Warp::Lane mine{};
    mine.value = reinterpret_cast<uintptr_t>(row);
    const auto distribute = [&](auto& lanes) {
        for (int matrix = 0; matrix < 4; ++matrix)
            for (int lane = 0; lane < 32; ++lane) {
                const auto* from = reinterpret_cast<const uint8_t*>(lanes[matrix * 8 + lane / 4].value);
                if (lane % 4 == 0 && emulator::poisoned(from))
                    emulator::machine.fail(call,
                                           "reads shared memory that nothing was written to, or that a copy is "
                                           "still to be written to: needs copy_async_wait");
                std::memcpy(&lanes[lane].a[matrix], from + lane % 4 * 4, 4);
            }
    };
    std::memcpy(r, emulator::together(call, mine, distribute).a, sizeof r);
}

// c += a b of 16 x 8 x 16.
template <class T>
inline void mma(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, Site site = Site::current()) {
    const emulator::Call call{"mma", site};
    emulator::require_capability(8, call);
    emulator::Warp::Lane mine{0, {a[0], a[1], a[2], a[3]}, {b0, b1}, {c[0], c[1], c[2], c[3]}};
    const auto multiply = [](auto& lanes) {
        const auto value = [](const uint32_t* registers, int i) {
            return emulator::element(T{}, static_cast<uint16_t>(registers[i / 2] >> i % 2 * 16));
        };
        float rows[16][16], columns[16][8], sums[16][8];
        for (int l = 0; l < 32; ++l) {
            const int row = l / 4, k = l % 4 * 2;
            for (int i = 0; i < 8; ++i) rows[row + (i & 2) * 4][k + (i & 1) + (i & 4) * 2] = value(lanes[l].a, i);
            for (int i = 0; i < 4; ++i) columns[k + (i & 1) + (i & 2) * 4][row] = value(lanes[l].b, i);
            for (int e = 0; e < 4; ++e)
                sums[emulator::fragment_row(l, e)][emulator::fragment_column(l, e)] = lanes[l].c[e];
        }
        for (int row = 0; row < 16; ++row) emulator::add_products(rows[row], columns[0], 8, sums[row], 8);
        for (int l = 0; l < 32; ++l)
            for (int e = 0; e < 4; ++e)
                lanes[l].c[e] = sums[emulator::fragment_row(l, e)][emulator::fragment_column(l, e)];
    };
    std::memcpy(c, emulator::together(call, mine, multiply).c, sizeof c);
}

// ---- Barriers, boxes, products of warpgroups (compute capability 9.0).

inline void barrier_init(uint64_t* barrier, int count, Site site = Site::current()) {
    const emulator::Call call{"barrier_init", site};
    if (!emulator::skip(call)) emulator::init_barrier(barrier, count, call);
}

inline void fence_barrier_init(Site site = Site::current()) {
    if (emulator::skip({"fence_barrier_init", site})) return;
    for (emulator::Barrier& barrier : emulator::self().block->barriers)
        if (barrier.owner == &emulator::self()) barrier.fenced = true;
}

inline void barrier_expect(uint64_t* barrier, uint32_t bytes, Site site = Site::current()) {
    const emulator::Call call{"barrier_expect", site};
    if (!emulator::skip(call)) emulator::arrive_at(emulator::own_barrier(barrier, call), bytes, call);
}

inline void barrier_arrive(uint64_t* barrier, Site site = Site::current()) {
    const emulator::Call call{"barrier_arrive", site};
    if (!emulator::skip(call)) emulator::arrive_at(emulator::own_barrier(barrier, call), 0, call);
}

inline void barrier_arrive_remote(uint64_t* barrier, int cta, Site site = Site::current()) {
    const emulator::Call call{"barrier_arrive_remote", site};
    if (emulator::skip(call)) return;
    emulator::Block& mine = *emulator::self().block;
    emulator::Block& other = emulator::block_of_cluster(cta, call);
    if (&other == &mine) return emulator::arrive_at(emulator::own_barrier(barrier, call), 0, call);
    const uint32_t address = emulator::address_of(mine, barrier, call);
    emulator::arrive_at(emulator::cluster_barrier(other, address, call), 0, call);
}

inline void barrier_wait(uint64_t* barrier, int parity, const Wait& wait, Site site = Site::current()) {
    const emulator::Call call{"barrier_wait", site};
    if (emulator::skip(call)) return;
    emulator::Thread& thread = emulator::self();
    thread.hangs = wait.hangs;
    thread.hang = HangWord::pack(wait, parity, block(), thread.index / 32);
    emulator::wait_for_phase(emulator::own_barrier(barrier, call), parity, call);
    thread.hangs = nullptr;
}

inline void sleep(uint32_t) {}

inline void prefetch(const TensorMap*) {}

inline void tma_load(void* to, const TensorMap* map, uint64_t* barrier, int c0, int c1, Site site = Site::current()) {
    emulator::start_box(to, *map, barrier, c0, c1, 1u << cluster_rank(), {"tma_load", site});
}

inline void tma_load_multicast(void* to, const TensorMap* map, uint64_t* barrier, int c0, int c1, uint16_t ctas,
                               Site site = Site::current()) {
    emulator::start_box(to, *map, barrier, c0, c1, ctas, {"tma_load_multicast", site});
}

inline void wgmma_fence(Site site = Site::current()) {
    if (!emulator::skip({"wgmma_fence", site})) emulator::self().fenced = true;
}

template <class T>
inline void wgmma(float (&d)[128], uint64_t a, uint64_t b, bool accumulate, Site site = Site::current()) {
    emulator::ask_for_product(d, a, b, accumulate, std::is_same_v<T, Bf16>, {"wgmma", site});
}

inline void wgmma_commit(Site site = Site::current()) {
    if (!emulator::skip({"wgmma_commit", site})) emulator::self().groups.push_back(emulator::self().asked);
}

template <int N>
inline void wgmma_wait(Site site = Site::current()) {
    const emulator::Call call{"wgmma_wait", site};
    if (!emulator::skip(call)) emulator::wait_for_products(N, call);
}

// An accumulator after wgmma_wait<0>(): keeps the compiler from using it earlier.
inline void pin(float& x) { emulator::deliver(x); }

template <int N>
inline void registers_down() {
    static_assert(N % 8 == 0 && N >= 24 && N <= 256);
}
template <int N>
inline void registers_up() {
    static_assert(N % 8 == 0 && N >= 24 && N <= 256);
}

}  // namespace hnscore::gpu

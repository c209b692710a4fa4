// The names of cuda/device/gpu.h that only sm_90a has: barriers, clusters, the copy engine, products of a warpgroup.
#pragma once

namespace hnscore::gpu {

// ---- sm_90a: barriers in shared memory, clusters, warpgroups -------------------------------------------------------

using TensorMap = CUtensorMap;

// A barrier completes a phase when `count` arrivals and all bytes announced have come; its phases count 0, 1, 0, ...
HNSCORE_DEVICE void barrier_init(uint64_t* barrier, int count) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(count) : "memory");
}
// Makes barriers just initialised known to the cluster and to the copy engine, before a cluster_sync().
HNSCORE_DEVICE void fence_barrier_init() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
// Arrives and announces bytes.
HNSCORE_DEVICE void barrier_expect(uint64_t* barrier, uint32_t bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes)
                 : "memory");
}
HNSCORE_DEVICE void barrier_arrive(uint64_t* barrier) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
}
// Arrives at the same barrier of a block of this cluster, which may be the caller's own. It says that this warp's
// products have read an operand; what the warp wrote itself it does not pass on to the other block: a release of the
// cluster's scope would be a fence of all its memory.
HNSCORE_DEVICE void barrier_arrive_remote(uint64_t* barrier, int cta) {
    asm volatile(
        "{\n.reg .b32 remote;\n"
        "mapa.shared::cluster.u32 remote, %0, %1;\n"
        "mbarrier.arrive.shared::cluster.b64 _, [remote];\n}" ::"r"(shared_address(barrier)),
        "r"(cta)
        : "memory");
}
// Until the phase of this parity is complete: of two neighbouring phases the earlier or the later one.
#ifndef HNSCORE_HANG_SECONDS
HNSCORE_DEVICE void barrier_wait(uint64_t* barrier, int parity, const Wait&) {
    asm volatile(
        "{\n.reg .pred done;\nagain_%=:\n"
        "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
        "@!done bra again_%=;\n}" ::"r"(shared_address(barrier)),
        "r"(parity)
        : "memory");
}
#else
HNSCORE_DEVICE uint32_t milliseconds() {
    uint64_t nanoseconds;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(nanoseconds));
    return static_cast<uint32_t>(nanoseconds >> 20);  // of 1.05 ms
}
// Notes what it waits for once its time is up, leaves the others a quarter of that to do so too, and traps.
HNSCORE_DEVICE void barrier_wait(uint64_t* barrier, int parity, const Wait& wait) {
    constexpr uint32_t limit = HNSCORE_HANG_SECONDS * 950;
    const uint32_t address = shared_address(barrier), began = milliseconds();
    for (;;) {
        uint32_t done;
        asm volatile(
            "{\n.reg .pred done;\n"
            "mbarrier.try_wait.parity.shared::cta.b64 done, [%1], %2;\n"
            "selp.b32 %0, 1, 0, done;\n}"
            : "=r"(done)
            : "r"(address), "r"(parity)
            : "memory");
        if (done) return;
        const uint32_t waited = milliseconds() - began;
        if (waited < limit) continue;
        const int warp = thread() / 32;
        if (wait.hangs) wait.hangs[hang_place(block(), warp)] = HangWord::pack(wait, parity, block(), warp);
        __threadfence_system();
        if (waited > limit + limit / 4) __trap();
    }
}
#endif

// For some time, at most twice as long as asked.
HNSCORE_DEVICE void sleep(uint32_t nanoseconds) { asm volatile("nanosleep.u32 %0;" ::"r"(nanoseconds)); }

// All threads of both blocks; those of a warp may come apart.
HNSCORE_DEVICE void cluster_sync() {
    asm volatile("barrier.cluster.arrive.release;\nbarrier.cluster.wait.acquire;" ::: "memory");
}
HNSCORE_DEVICE int cluster_rank() {
    uint32_t rank;
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return static_cast<int>(rank);
}

// The 128 threads that name this ID, 1 to 15.
template <int ID>
HNSCORE_DEVICE void sync_group() {
    asm volatile("bar.sync %0, 128;" ::"n"(ID) : "memory");
}

// Warpgroup. Gives registers back, or waits until others have given enough.
template <int N>
HNSCORE_DEVICE void registers_down() {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N));
}
template <int N>
HNSCORE_DEVICE void registers_up() {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N));
}

// ---- sm_90a: the copy engine ---------------------------------------------------------------------------------------

// One thread. The map is on its way to where the first copy looks for it.
HNSCORE_DEVICE void prefetch(const TensorMap* map) { asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory"); }
// One thread. Brings the box of the map at (depth c0, row c1), zeros beyond its edges, and counts its bytes at the
// barrier: here, or at the same addresses of each block of the cluster named by a bit.
HNSCORE_DEVICE void tma_load(void* to, const TensorMap* map, uint64_t* barrier, int c0, int c1) {
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], "
        "[%2];" ::"r"(shared_address(to)),
        "l"(map), "r"(shared_address(barrier)), "r"(c0), "r"(c1)
        : "memory");
}
HNSCORE_DEVICE void tma_load_multicast(void* to, const TensorMap* map, uint64_t* barrier, int c0, int c1,
                                       uint16_t ctas) {
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster [%0], "
        "[%1, {%3, %4}], [%2], %5;" ::"r"(shared_address(to)),
        "l"(map), "r"(shared_address(barrier)), "r"(c0), "r"(c1), "h"(ctas)
        : "memory");
}

// ---- sm_90a: matrix products of a warpgroup ------------------------------------------------------------------------

// Warpgroup. Between other uses of accumulators and the first product that adds to them.
HNSCORE_DEVICE void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
HNSCORE_DEVICE void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
// Until at most N of this warp's groups are under way.
template <int N>
HNSCORE_DEVICE void wgmma_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
}
// Keeps the compiler from reading an accumulator before this place.
HNSCORE_DEVICE void pin(float& x) { asm volatile("" : "+f"(x)::"memory"); }

// d (64 x 256) += a (64 x 16) b (256 x 16)', or d = that product; a and b describe matrices in shared memory.
template <class T>
HNSCORE_DEVICE void wgmma(float (&d)[128], uint64_t a, uint64_t b, bool accumulate) {
// "%t0, %t1, ..., %t9", and eight operands.
#define HNSCORE_TEN(t) \
    "%" #t "0, %" #t "1, %" #t "2, %" #t "3, %" #t "4, %" #t "5, %" #t "6, %" #t "7, %" #t "8, %" #t "9, "
#define HNSCORE_8(i)                                                                                            \
    "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), \
        "+f"(d[i + 7])
#define HNSCORE_32(i) HNSCORE_8(i), HNSCORE_8(i + 8), HNSCORE_8(i + 16), HNSCORE_8(i + 24)
#define HNSCORE_WGMMA(type) \
    asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, %130, 0;\n"                                     \
                 "wgmma.mma_async.sync.aligned.m64n256k16.f32." type " {"                     \
                 HNSCORE_TEN() HNSCORE_TEN(1) HNSCORE_TEN(2) HNSCORE_TEN(3) HNSCORE_TEN(4)             \
                 HNSCORE_TEN(5) HNSCORE_TEN(6) HNSCORE_TEN(7) HNSCORE_TEN(8) HNSCORE_TEN(9)            \
                 HNSCORE_TEN(10) HNSCORE_TEN(11) "%120, %121, %122, %123, %124, %125, %126, %127}, "   \
                 "%128, %129, add, 1, 1, 0, 0;\n}"                                                     \
                 : HNSCORE_32(0), HNSCORE_32(32), HNSCORE_32(64), HNSCORE_32(96)                       \
                 : "l"(a), "l"(b), "r"(static_cast<int>(accumulate))                                   \
                 : "memory")
    if constexpr (std::is_same_v<T, Half>)
        HNSCORE_WGMMA("f16.f16");
    else
        HNSCORE_WGMMA("bf16.bf16");
#undef HNSCORE_WGMMA
#undef HNSCORE_32
#undef HNSCORE_8
#undef HNSCORE_TEN
}

}  // namespace hnscore::gpu

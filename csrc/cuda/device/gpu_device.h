// The names of cuda/device/gpu.h on a device: each is one instruction or two. What an instruction demands of its
// callers is said here once; kernels say why they wait or arrive.
//
// "Warp" marks what all 32 lanes must call together, "warpgroup" what 4 warps must, of which the first is a multiple
// of 4. Everything asynchronous is volatile and clobbers memory, so that the compiler keeps it in the written order.
#pragma once

#include <cuda.h>  // CUtensorMap, a type alone
#include <cuda_runtime.h>

#include <cstdint>
#include <type_traits>

#include "cuda/device/wait.h"

#define HNSCORE_DEVICE __device__ __forceinline__
// A function that is called: for rare and long ones, which would cost the loops around them registers.
#define HNSCORE_DEVICE_CALL inline __device__ __noinline__
#define HNSCORE_BOTH __host__ __device__ inline
#define HNSCORE_KERNEL(threads) __global__ void __launch_bounds__(threads)
// For kernels that need all registers they can get while a processor holds so many blocks: left to itself, ptxas may
// spill accumulators for one block more.
#define HNSCORE_KERNEL_BLOCKS(threads, blocks) __global__ void __launch_bounds__(threads, blocks)
#define HNSCORE_KERNEL_CLUSTER2(threads) __global__ void __cluster_dims__(2, 1, 1) __launch_bounds__(threads, 1)
#define HNSCORE_GRID_CONSTANT __grid_constant__

namespace hnscore::gpu {

// ---- Threads -------------------------------------------------------------------------------------------------------

constexpr unsigned kAllLanes = 0xffffffff;

HNSCORE_DEVICE int thread() { return static_cast<int>(threadIdx.x); }
HNSCORE_DEVICE int block() { return static_cast<int>(blockIdx.x); }
HNSCORE_DEVICE int blocks() { return static_cast<int>(gridDim.x); }

// Dynamic shared memory, and how many bytes of it the launch asked for.
HNSCORE_DEVICE uint8_t* shared() {
    extern __shared__ __align__(1024) uint8_t dynamic_shared_memory[];
    return dynamic_shared_memory;
}
HNSCORE_DEVICE int shared_size() {
    uint32_t bytes;
    asm("mov.u32 %0, %%dynamic_smem_size;" : "=r"(bytes));
    return static_cast<int>(bytes);
}
HNSCORE_DEVICE uint32_t shared_address(const void* p) { return static_cast<uint32_t>(__cvta_generic_to_shared(p)); }

HNSCORE_DEVICE void sync() { __syncthreads(); }
HNSCORE_DEVICE void sync_warp() { __syncwarp(); }
template <class T>
HNSCORE_DEVICE T shfl(T x, int lane) {
    return __shfl_sync(kAllLanes, x, lane);
}
template <class T>
HNSCORE_DEVICE T shfl_xor(T x, int mask) {
    return __shfl_xor_sync(kAllLanes, x, mask);
}
HNSCORE_DEVICE uint32_t ballot(bool x) { return __ballot_sync(kAllLanes, x); }

// ---- Numbers -------------------------------------------------------------------------------------------------------

HNSCORE_DEVICE float ex2(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// To the nearest, ties to even.
HNSCORE_DEVICE uint16_t to_half(float x) {
    uint16_t y;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y) : "f"(x));
    return y;
}
HNSCORE_DEVICE float from_half(uint16_t x) {
    float y;
    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x));
    return y;
}
HNSCORE_DEVICE uint16_t to_bf16(float x) {  // in integers: sm_75 has no instruction for it
    const uint32_t bits = __float_as_uint(x);
    if (x != x) return 0x7fff;
    return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
HNSCORE_DEVICE float from_bf16(uint16_t x) { return __uint_as_float(static_cast<uint32_t>(x) << 16); }

// ---- Global memory -------------------------------------------------------------------------------------------------

// Of memory that nobody writes while the kernel runs.
HNSCORE_DEVICE Float2 load2(const Float2* p) {
    Float2 v;
    asm("ld.global.nc.v2.f32 {%0, %1}, [%2];" : "=f"(v.x), "=f"(v.y) : "l"(p));
    return v;
}
HNSCORE_DEVICE Float4 load4(const Float4* p) {
    Float4 v;
    asm("ld.global.nc.v4.f32 {%0, %1, %2, %3}, [%4];" : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w) : "l"(p));
    return v;
}

// Each returns the value before.
HNSCORE_DEVICE uint64_t atomic_min(uint64_t* p, uint64_t x) {
    return atomicMin(reinterpret_cast<unsigned long long*>(p), static_cast<unsigned long long>(x));
}
HNSCORE_DEVICE uint64_t atomic_exchange(uint64_t* p, uint64_t x) {
    return atomicExch(reinterpret_cast<unsigned long long*>(p), static_cast<unsigned long long>(x));
}
HNSCORE_DEVICE void atomic_max(float* p, float x) {  // not negative: then floats are ordered as their bits are
    atomicMax(reinterpret_cast<int*>(p), __float_as_int(x));
}
HNSCORE_DEVICE int atomic_add(int* p, int x) { return atomicAdd(p, x); }
HNSCORE_DEVICE unsigned long long atomic_add(unsigned long long* p, unsigned long long x) { return atomicAdd(p, x); }

// ---- sm_80: asynchronous copies and matrix products of a warp ------------------------------------------------------

// Brings `bytes` (0 to 16) bytes to 16 bytes of shared memory, zeros behind them; past the first-level cache.
HNSCORE_DEVICE void copy_async16(uint32_t shared_address, const void* global, int bytes) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address), "l"(global), "r"(bytes)
                 : "memory");
}
HNSCORE_DEVICE void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Until at most N of this thread's groups are under way.
template <int N>
HNSCORE_DEVICE void copy_async_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

// Warp. Lane l names row l % 8 of matrix l / 8; each matrix is 8 rows of 16 bytes.
HNSCORE_DEVICE void load_matrix4(uint32_t (&r)[4], uint32_t shared_address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address)
                 : "memory");
}

// Warp. c (16 x 8) += a (16 x 16) b (16 x 8).
template <class T>
HNSCORE_DEVICE void mma(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
#define HNSCORE_MMA(type)                                                      \
    asm("mma.sync.aligned.m16n8k16.row.col.f32." type "." type                 \
        ".f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};" \
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])                       \
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1))
    if constexpr (std::is_same_v<T, Half>)
        HNSCORE_MMA("f16");
    else
        HNSCORE_MMA("bf16");
#undef HNSCORE_MMA
}

}  // namespace hnscore::gpu

#include "cuda/device/gpu_sm90.h"

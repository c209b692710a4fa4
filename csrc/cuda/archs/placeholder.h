// Placeholder.
#pragma once
#ifdef HNSCORE_EMULATE
#define __global__
#define __launch_bounds__(...)
#else
#include <cuda_runtime.h>
#endif
namespace hnscore::gpu {
int placeholder_simt();
int placeholder_mma_half();
int placeholder_mma_bf16();
int placeholder_wgmma_half();
int placeholder_wgmma_bf16();
int placeholder_backend();
}  // namespace hnscore::gpu

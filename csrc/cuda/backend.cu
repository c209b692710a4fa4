// Placeholder.
#include "archs/placeholder.h"

namespace hnscore::gpu {
int placeholder_backend() {
    int found = placeholder_simt();
#ifdef HNSCORE_MMA
    found += placeholder_mma_half() + placeholder_mma_bf16();
#endif
#ifdef HNSCORE_WGMMA
    found += placeholder_wgmma_half() + placeholder_wgmma_bf16();
#endif
#ifndef HNSCORE_EMULATE
    int devices = 0;
    (void)cudaGetDeviceCount(&devices);
#endif
    return found;
}
}  // namespace hnscore::gpu

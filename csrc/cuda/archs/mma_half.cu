// Placeholder.
#include "placeholder.h"

namespace hnscore::gpu {
__global__ void mma_half(float* x) { *x = 2 * *x + 1; }
int placeholder_mma_half() {
    void (*volatile kernel)(float*) = &mma_half;
    return kernel != nullptr;
}
}  // namespace hnscore::gpu

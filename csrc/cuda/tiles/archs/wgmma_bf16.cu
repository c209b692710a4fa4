// sm_90a, bfloat16.
#include "cuda/tiles/archs/wgmma.h"

namespace hnscore::gpu {

void start_wgmma_bf16(Pass pass, Recipe recipe, const Launch& l, const Problem& p) {
    start_in(WgmmaTable<Bf16>(l, p), pass, recipe);
}

}  // namespace hnscore::gpu

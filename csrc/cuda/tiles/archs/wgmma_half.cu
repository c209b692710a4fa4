// sm_90a, float16.
#include "cuda/tiles/archs/wgmma.h"

namespace hnscore::gpu {

const Shape kWgmma = kWgmmaShape;

void start_wgmma_half(Pass pass, Recipe recipe, const Launch& l, const Problem& p) {
    start_in(WgmmaTable<Half>(l, p), pass, recipe);
}

}  // namespace hnscore::gpu

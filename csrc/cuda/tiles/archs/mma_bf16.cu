// sm_80 and later, bfloat16.
#include "cuda/tiles/archs/mma.h"

namespace hnscore::gpu {

void start_mma_bf16(Pass pass, Recipe recipe, const Launch& l, const Problem& p) {
    start_in(MmaTable<Bf16>{l, p}, pass, recipe);
}

}  // namespace hnscore::gpu

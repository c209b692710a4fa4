// sm_80 and later, float16.
#include "cuda/tiles/archs/mma.h"

namespace hnscore::gpu {

const Shape kMma = kMmaShape;

void start_mma_half(Pass pass, Recipe recipe, const Launch& l, const Problem& p) {
    start_in(MmaTable<Half>{l, p}, pass, recipe);
}

}  // namespace hnscore::gpu

// sm_80 and later, float16.
#include "cuda/archs/mma.h"

namespace hnscore::gpu {

const Shape kMma = kMmaShape;

void start_mma_half(Kind kind, const Launch& l, const Problem& p) { start_by_kind(kind, MmaTable<Half>{l, p}); }

}  // namespace hnscore::gpu

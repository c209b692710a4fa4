// sm_90a, float16.
#include "cuda/archs/wgmma.h"

namespace hnscore::gpu {

const Shape kWgmma = kWgmmaShape;

void start_wgmma_half(Kind kind, const Launch& l, const Problem& p) { start_by_kind(kind, WgmmaTable<Half>(l, p)); }

}  // namespace hnscore::gpu

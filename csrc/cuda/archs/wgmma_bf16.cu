// sm_90a, bfloat16.
#include "cuda/archs/wgmma.h"

namespace hnscore::gpu {

void start_wgmma_bf16(Kind kind, const Launch& l, const Problem& p) { start_by_kind(kind, WgmmaTable<Bf16>(l, p)); }

}  // namespace hnscore::gpu

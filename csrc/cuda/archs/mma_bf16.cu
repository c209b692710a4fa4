// sm_80 and later, bfloat16.
#include "cuda/archs/mma.h"

namespace hnscore::gpu {

void start_mma_bf16(Kind kind, const Launch& l, const Problem& p) { start_by_kind(kind, MmaTable<Bf16>{l, p}); }

}  // namespace hnscore::gpu

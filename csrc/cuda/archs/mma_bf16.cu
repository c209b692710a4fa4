// Kernels of sm_80 and later for bfloat16 operands.
#include "cuda/kernels.h"
#include "cuda/mainloop_mma.h"

namespace hnscore::gpu {

namespace {

struct Table {
    const Launch& launch_;
    const Problem& p;

    template <class Weight>
    void rounded() const {
        launch(launch_, mma_kernel<Bf16, Rounded<Weight>::template Epilogue>, p);
    }
    void exact_count() const { throw GpuError("exact counts have float16 operands"); }
    void screen() const { launch(launch_, mma_kernel<Bf16, Screen>, p); }
    void top() const { launch(launch_, mma_kernel<Bf16, Top>, p); }
};

}  // namespace

void start_mma_bf16(Kind kind, const Launch& l, const Problem& p) { start_by_kind(kind, Table{l, p}); }

}  // namespace hnscore::gpu

// Kernels of sm_80 and later for float16 operands.
#include "cuda/kernels.h"
#include "cuda/mainloop_mma.h"

namespace hnscore::gpu {

const Shape kMma = kMmaShape;
namespace {

struct Table {
    const Launch& launch_;
    const Problem& p;

    template <class Weight>
    void rounded() const {
        launch(launch_, mma_kernel<Half, Rounded<Weight>::template Epilogue>, p);
    }
    void exact_count() const { launch(launch_, mma_kernel<Half, ExactCount>, p); }
    void screen() const { launch(launch_, mma_kernel<Half, Screen>, p); }
    void top() const { launch(launch_, mma_kernel<Half, Top>, p); }
};

}  // namespace

void start_mma_half(Kind kind, const Launch& l, const Problem& p) { start_by_kind(kind, Table{l, p}); }

}  // namespace hnscore::gpu

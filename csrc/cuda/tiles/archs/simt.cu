// Kernels of every GPU: float32 products.
#include "cuda/tiles/kernels.h"
#include "cuda/tiles/mainloop_simt.h"

namespace hnscore::gpu {

const Shape kSimt = kSimtShape;

namespace {

struct Table {
    const Launch& launch_;
    const Problem& p;

    // Rounded operands have no band, and their thresholds in two parts do no harm: one kernel serves both.
    template <class Weight>
    void rounded() const {
        launch(launch_, simt_kernel<Accurate<Weight>::template Epilogue>, p);
    }
    void exact_count() const { launch(launch_, simt_kernel<Accurate<Count>::Epilogue>, p); }
    void screen() const { launch(launch_, simt_kernel<Screen>, p); }
    void top() const { launch(launch_, simt_kernel<Top>, p); }
    void list() const { launch(launch_, simt_kernel<List>, p); }
};

}  // namespace

void start_simt(Pass pass, Recipe recipe, const Launch& l, const Problem& p) { start_in(Table{l, p}, pass, recipe); }

}  // namespace hnscore::gpu

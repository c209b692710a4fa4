// Kernels of sm_90a for float16 operands.
#include "cuda/kernels.h"
#include "cuda/mainloop_wgmma.h"

namespace hnscore::gpu {

const Shape kWgmma = kWgmmaShape;
namespace {

struct Table {
    const Launch& launch_;
    const Problem& p;
    TensorMap rows, columns;

    Table(const Launch& l, const Problem& problem)
        : launch_(l),
          p(problem),
          rows(map(p.row_values, p.n_rows, p.row_pitch)),
          columns(map(p.col_values, p.n_cols, p.col_pitch)) {}
    TensorMap map(const void* values, int64_t n, int64_t pitch) const {
        constexpr int kBoxRows = 128;  // all rows of a block, and half of the columns of a tile
        return tensor_map(values, n, pitch, p.depth, kBoxRows, DType::f16);
    }
    template <class Weight>
    void rounded() const {
        launch(launch_, wgmma_kernel<Half, Rounded<Weight>::template Epilogue>, rows, columns, p);
    }
    void exact_count() const { launch(launch_, wgmma_kernel<Half, ExactCount>, rows, columns, p); }
    void screen() const { launch(launch_, wgmma_kernel<Half, Screen>, rows, columns, p); }
    void top() const { launch(launch_, wgmma_kernel<Half, Top>, rows, columns, p); }
};

}  // namespace

void start_wgmma_half(Kind kind, const Launch& l, const Problem& p) { start_by_kind(kind, Table(l, p)); }

}  // namespace hnscore::gpu

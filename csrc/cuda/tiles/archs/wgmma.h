// The kernels of sm_90a for one operand.
#pragma once

#include "cuda/tiles/kernels.h"
#include "cuda/tiles/mainloop_wgmma.h"

namespace hnscore::gpu {

template <class T>
struct WgmmaTable {
    const Launch& launch_;
    const Problem& p;
    TensorMap rows, columns;

    WgmmaTable(const Launch& l, const Problem& problem)
        : launch_(l),
          p(problem),
          rows(map(p.row_values, p.n_rows, p.row_pitch)),
          columns(map(p.col_values, p.n_cols, p.col_pitch)) {}
    TensorMap map(const void* values, int64_t n, int64_t pitch) const {
        constexpr int kBoxRows = 128;  // all rows of a block, and half of the columns of a tile
        return tensor_map(values, n, pitch, p.depth, kBoxRows, std::is_same_v<T, Half> ? DType::f16 : DType::bf16);
    }
    template <class Weight>
    void rounded() const {
        launch(launch_, wgmma_kernel<T, Rounded<Weight>::template Epilogue>, rows, columns, p);
    }
    void exact_count() const {
        if constexpr (std::is_same_v<T, Half>) launch(launch_, wgmma_kernel<T, ExactCount>, rows, columns, p);
    }
    void screen() const { launch(launch_, wgmma_kernel<T, Screen>, rows, columns, p); }
    void top() const { launch(launch_, wgmma_kernel<T, Top>, rows, columns, p); }
    void list() const { launch(launch_, wgmma_kernel<T, List>, rows, columns, p); }
};

}  // namespace hnscore::gpu

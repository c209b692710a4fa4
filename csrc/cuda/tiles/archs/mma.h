// The kernels of sm_80 and later for one operand.
#pragma once

#include "cuda/tiles/kernels.h"
#include "cuda/tiles/mainloop_mma.h"

namespace hnscore::gpu {

template <class T>
struct MmaTable {
    const Launch& launch_;
    const Problem& p;

    template <class Weight>
    void rounded() const {
        launch(launch_, mma_kernel<T, Rounded<Weight>::template Epilogue>, p);
    }
    void exact_count() const {
        if constexpr (std::is_same_v<T, Half>) launch(launch_, mma_kernel<T, ExactCount>, p);
    }
    void screen() const { launch(launch_, mma_kernel<T, Screen>, p); }
    void top() const { launch(launch_, mma_kernel<T, Top>, p); }
    void list() const { launch(launch_, mma_kernel<T, List>, p); }
};

}  // namespace hnscore::gpu

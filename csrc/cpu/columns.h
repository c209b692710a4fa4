// The side of a call that is packed once.
#pragma once

#include <memory>

#include "cpu/encode.h"

namespace hnscore {

// The side that is packed once, by the plan: for the dense path panels of Kernels::cols rows of the view,
// [panel][depth / step][column][step]; for a cascade codes (cpu/encode.h), and with `warm` the first Plan::warm columns
// as panels too.
struct Columns {
    Columns(const View& view, const Format& format, const std::shared_ptr<const Plan>& plan, bool warm, int n_threads,
            const Poll& poll);

    View view;
    Format format;
    std::shared_ptr<const Plan> plan;  // null: dense
    int64_t rows, dim, depth, panels, panel_bytes, dense_panels;
    Buffer<char> packed;
    std::vector<double> m, norm;  // norm: |t|
    std::vector<char> plain;
    std::vector<std::pair<int64_t, int>> bad;
    ColumnCodes codes;

    int64_t bytes() const;

  private:
    void pack_panel(int64_t panel, const float* scaled, int64_t pitch, int present);
};

}  // namespace hnscore

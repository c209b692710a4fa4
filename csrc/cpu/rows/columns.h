// The side of a call that is packed once.
#pragma once

#include <memory>

#include "cpu/cascade/encode.h"

namespace hnscore {

// The side that is packed once, by the plan: for the dense path panels of Kernels::cols rows of the view,
// [panel][depth / step][column][step]; for a cascade codes (cpu/cascade/encode.h), and with `warm` the first Plan::warm
// columns as panels too.
struct Columns {
    Columns(const View& view, const Format& format, const std::shared_ptr<const Plan>& plan, bool warm, int n_threads,
            const Poll& poll);

    View view;
    Format format;
    std::shared_ptr<const Plan> plan;  // null: dense
    int64_t rows, dim, depth, panels, panel_bytes, dense_panels;
    Buffer<char> packed;
    std::vector<Packed> packing;  // of the columns in panels
    std::vector<double> m, norm;  // norm: |t|
    std::vector<char> plain;
    std::vector<std::pair<int64_t, int>> bad;
    ColumnCodes codes;

    double packed_m(int64_t j) const { return m[static_cast<size_t>(j)] / packing_of(j).unit; }  // of the panels
    double scaled_norm(int64_t j) const {                                                        // |t'_j|
        const auto at = static_cast<size_t>(j);
        return format.cosine ? m[at] : m[at] * norm[at];
    }
    Packed packing_of(int64_t j) const {
        return static_cast<size_t>(j) < packing.size() ? packing[static_cast<size_t>(j)] : Packed{};
    }
    int64_t bytes() const;
};

}  // namespace hnscore

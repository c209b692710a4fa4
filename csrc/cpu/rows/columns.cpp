#include "cpu/rows/columns.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>

namespace hnscore {
namespace {

Format format_of(Format format, int64_t dim) {
    format.dim = dim;
    return format;
}

}  // namespace

Columns::Columns(const View& view_, const Format& format_, const std::shared_ptr<const Plan>& plan_, bool warm,
                 int n_threads, const Poll& poll)
    : view(view_),
      format(format_of(format_, view_.dim)),
      plan(plan_),
      rows(view_.rows),
      dim(view_.dim),
      depth(format.operand().col_depth(view_.dim)),
      panels((view_.rows + format.kernels().cols - 1) / format.kernels().cols),
      panel_bytes(format.panel_bytes()),
      m(static_cast<size_t>(rows)),
      norm(static_cast<size_t>(rows)),
      plain(static_cast<size_t>(rows)) {
    const int width = format.kernels().cols;
    dense_panels = panels;
    if (plan) dense_panels = warm ? std::min(panels, (plan->warm + width - 1) / width) : 0;
    packed = Buffer<char>(dense_panels * panel_bytes);
    packing.resize(static_cast<size_t>(dense_panels * width));
    if (plan) codes = ColumnCodes(*plan, format, rows, dim);
    BadRows bad_rows;
    std::atomic<int64_t> next{0};
    // Work items: a panel; or as many columns as fill panels and the encoder's tiles.
    const int64_t item = plan ? int64_t{format.target->fp32.rows} * width : width, items = (rows + item - 1) / item;
    const double work = plan ? 100.0 : 20.0;
    Team team(useful_threads(n_threads, items, work * static_cast<double>(rows * dim)), items, poll);
    team.run([&](int worker) {
        // Sixteen floats of padding: rows a power of two apart would share few sets of the first-level cache.
        const int64_t pitch = depth + 16;
        Buffer<float> scaled(width * pitch);
        std::memset(scaled.data(), 0, static_cast<size_t>(scaled.bytes()));
        RowReader reader(format, view);
        std::optional<Encoder> encoder;
        if (plan) encoder.emplace(*plan, format, dim);
        while (!bad_rows.any()) {
            const int64_t first = next.fetch_add(1) * item;
            if (first >= rows) return;
            const int64_t end = std::min(rows, first + item);
            for (int64_t j = first; j < end; ++j) {
                const int64_t c = j % width, panel = j / width;
                float* values = encoder ? encoder->values() : scaled.data() + c * pitch;
                const RowFacts f = reader.read(j, values);
                const auto at = static_cast<size_t>(j);
                if (f.bad != kGood) bad_rows.add(j, f.bad);
                m[at] = f.m;
                norm[at] = std::ldexp(f.norm, f.exponent);
                plain[at] = f.plain;
                const bool last = c == width - 1 || j == rows - 1;
                if (encoder) {
                    if (panel < dense_panels)
                        std::memcpy(scaled.data() + c * pitch, values, static_cast<size_t>(dim) * 4);
                    encoder->add(f);
                    if (encoder->full() || j == end - 1) codes.store(*encoder, j + 1 - encoder->count());
                }
                if (last && panel < dense_panels)
                    format.operand().pack_panel(scaled.data(), pitch, static_cast<int>(c) + 1, width, depth,
                                                packed.data() + panel * panel_bytes, packing.data() + panel * width);
            }
            if (!team.advance(worker, 1)) return;
        }
    });
    bad = bad_rows.sorted();
}

int64_t Columns::bytes() const {
    return packed.bytes() + static_cast<int64_t>(packing.size() * sizeof(Packed)) + codes.bytes() +
           rows * static_cast<int64_t>(2 * sizeof(double) + 1);
}

}  // namespace hnscore

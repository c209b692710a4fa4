#include "cpu/columns.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>

namespace hnscore {
namespace {

// [column][depth] to [depth][width].
void interleave(const float* in, int64_t pitch, int columns, int width, int64_t depth, float* out) {
    for (int64_t k = 0; k < depth; ++k)
        for (int c = 0; c < columns; ++c) out[k * width + c] = in[c * pitch + k];
}

// [column][depth] to [depth / 2][width][2], of values that are already rounded to bf16.
void interleave_bf16(const float* in, int64_t pitch, int columns, int width, int64_t depth, uint16_t* out) {
    for (int c = 0; c < columns; ++c)
        for (int64_t k = 0; k < depth; k += 2) to_bf16(in + c * pitch + k, 2, out + k * width + 2 * c);
}

}  // namespace

Columns::Columns(const View& view_, const Format& format_, const std::shared_ptr<const Plan>& plan_, bool warm,
                 int n_threads, const Poll& poll)
    : view(view_),
      format(format_),
      plan(plan_),
      rows(view_.rows),
      dim(view_.dim),
      depth(padded_depth(view_.dim)),
      panels((view_.rows + format_.kernels().cols - 1) / format_.kernels().cols),
      panel_bytes(depth * format_.kernels().cols * format_.element_bytes()),
      m(static_cast<size_t>(rows)),
      norm(static_cast<size_t>(rows)),
      plain(static_cast<size_t>(rows)) {
    const int width = format.kernels().cols;
    dense_panels = panels;
    if (plan) dense_panels = warm ? std::min(panels, (plan->warm + width - 1) / width) : 0;
    packed = Buffer<char>(dense_panels * panel_bytes);
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
                if (last && panel < dense_panels) pack_panel(panel, scaled.data(), pitch, static_cast<int>(c) + 1);
            }
            if (!team.advance(worker, 1)) return;
        }
    });
    bad = bad_rows.sorted();
}

// Columns [first, first + present) of the panel, zeros after them.
void Columns::pack_panel(int64_t panel, const float* scaled, int64_t pitch, int present) {
    const int width = format.kernels().cols;
    char* out = packed.data() + panel * panel_bytes;
    if (present < width) std::memset(out, 0, static_cast<size_t>(panel_bytes));
    if (format.bf16_elements())
        interleave_bf16(scaled, pitch, present, width, depth, reinterpret_cast<uint16_t*>(out));
    else
        interleave(scaled, pitch, present, width, depth, reinterpret_cast<float*>(out));
}

int64_t Columns::bytes() const {
    return packed.bytes() + codes.bytes() + rows * static_cast<int64_t>(2 * sizeof(double) + 1);
}

}  // namespace hnscore

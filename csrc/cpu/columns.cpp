#include "cpu/columns.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace hnscore {
namespace {

// Squared norms outside this range have lost digits to underflow or are infinite.
constexpr double kLeastNorm2 = 0x1p-960;

// The exponent e for which x * 2^-e has a norm in [1, 2), from a squared norm.
int norm_exponent(double norm2) {
    int e;
    std::frexp(std::sqrt(norm2), &e);
    return e - 1;
}

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

void to_bf16(const float* in, int64_t count, uint16_t* out) {
    for (int64_t k = 0; k < count; ++k) {
        uint32_t bits;
        std::memcpy(&bits, in + k, 4);
        out[k] = static_cast<uint16_t>(bits >> 16);
    }
}

RowFacts Format::facts(const double* x, int64_t dim) const {
    RowFacts f;
    const double norm2 = target->norm2(x, dim);
    const bool in_range = norm2 >= kLeastNorm2 && norm2 <= 1 / kLeastNorm2;
    if (cosine) {
        if (norm2 >= kLeastNorm2 && std::isfinite(norm2)) {
            f.exponent = norm_exponent(norm2);
            f.m = std::ldexp(std::sqrt(norm2), -f.exponent);
        } else {
            f.bad = std::all_of(x, x + dim, [](double v) { return v == 0; }) ? kZero : kOutOfRange;
        }
        return f;
    }
    if (in_range) {
        f.exponent = norm_exponent(norm2);
    } else {
        double largest = 0, sum = 0;
        for (int64_t k = 0; k < dim; ++k) largest = std::max(largest, std::abs(x[k]));
        if (largest > 0) {
            const int e = std::ilogb(largest);
            for (int64_t k = 0; k < dim; ++k) sum += std::pow(std::ldexp(x[k], -e), 2);
            f.exponent = e + norm_exponent(sum);
        }
    }
    f.m = std::ldexp(1.0, -f.exponent);
    f.plain = std::abs(f.exponent) <= kPlainExponent;
    return f;
}

RowReader::RowReader(const Format& format, const View& view)
    : format_(format), view_(view), wide_(!fits_float32(view.dtype)), values_(view.dim) {}

const double* RowReader::values(int64_t row) {
    if (row != row_) {
        finite_ = format_.target->load_row(view_, row, values_.data());
        row_ = row;
    }
    return values_.data();
}

RowFacts RowReader::read(int64_t row, float* scaled) {
    const double* x = values(row);
    RowFacts f;
    if (!finite_) {
        f.bad = kNonFinite;
        return f;
    }
    f = format_.facts(x, view_.dim);
    if (f.bad == kGood)
        format_.target->scale_row(x, view_.dim, f.exponent, format_.precision == Precision::bf16, scaled);
    return f;
}

double RowReader::exact_similarity(int64_t i, RowReader& other, int64_t j) {
    const double dot = exact_dot(values(i), other.values(j), wide_ || other.wide_);
    return format_.cosine ? dot / (std::sqrt(exact_norm2(i)) * std::sqrt(other.exact_norm2(j))) : dot;
}

double RowReader::exact_norm2(int64_t row) {
    if (row != norm2_row_) {
        const double* x = values(row);
        norm2_ = exact_dot(x, x, wide_);
        norm2_row_ = row;
    }
    return norm2_;
}

double RowReader::exact_dot(const double* a, const double* b, bool wide) const {
    return round_pair_sum(format_.target->dot_pair(a, b, view_.dim, wide), a, b, view_.dim);
}

void BadRows::add(int64_t row, BadRow kind) {
    const std::lock_guard<std::mutex> lock(guard_);
    rows_.emplace_back(row, kind);
    any_ = true;
}

std::vector<std::pair<int64_t, int>> BadRows::sorted() const {
    auto out = rows_;
    std::sort(out.begin(), out.end());
    if (out.size() > kNamed) out.resize(kNamed);
    return out;
}

Columns::Columns(const View& view_, const Format& format_, int n_threads, const Poll& poll)
    : view(view_),
      format(format_),
      rows(view_.rows),
      dim(view_.dim),
      depth(padded_depth(view_.dim)),
      panels((view_.rows + format_.kernels().cols - 1) / format_.kernels().cols),
      panel_bytes(depth * format_.kernels().cols * format_.element_bytes()),
      packed(panels * panel_bytes),
      m(static_cast<size_t>(rows)),
      plain(static_cast<size_t>(rows)) {
    const int width = format.kernels().cols;
    BadRows bad_rows;
    std::atomic<int64_t> next{0};
    Team team(useful_threads(n_threads, panels, 20.0 * static_cast<double>(rows * dim)), panels, poll);
    team.run([&](int worker) {
        // Sixteen floats of padding: rows a power of two apart would share few sets of the first-level cache.
        const int64_t pitch = depth + 16;
        Buffer<float> scaled(width * pitch);
        std::memset(scaled.data(), 0, static_cast<size_t>(scaled.bytes()));
        RowReader reader(format, view);
        while (!bad_rows.any()) {
            const int64_t panel = next.fetch_add(1);
            if (panel >= panels) return;
            const int present = static_cast<int>(std::min<int64_t>(width, rows - panel * width));
            for (int c = 0; c < present; ++c) {
                const int64_t j = panel * width + c;
                const RowFacts f = reader.read(j, scaled.data() + c * pitch);
                if (f.bad != kGood) bad_rows.add(j, f.bad);
                m[static_cast<size_t>(j)] = f.m;
                plain[static_cast<size_t>(j)] = f.plain;
            }
            char* out = packed.data() + panel * panel_bytes;
            if (present < width) std::memset(out, 0, static_cast<size_t>(panel_bytes));
            if (format.bf16_elements())
                interleave_bf16(scaled.data(), pitch, present, width, depth, reinterpret_cast<uint16_t*>(out));
            else
                interleave(scaled.data(), pitch, present, width, depth, reinterpret_cast<float*>(out));
            if (!team.advance(worker, 1)) return;
        }
    });
    bad = bad_rows.sorted();
}

int64_t Columns::bytes() const {
    return packed.bytes() + static_cast<int64_t>(rows) * static_cast<int64_t>(sizeof(double) + 1);
}

int useful_threads(int limit, int64_t items, double operations) {
    // A thread costs about 20 microseconds; give each at least ten times that at 50 operations a nanosecond.
    const double wanted = std::max(1.0, operations / 1e7);
    return static_cast<int>(std::max<int64_t>(1, std::min<int64_t>({limit, items, static_cast<int64_t>(wanted)})));
}

}  // namespace hnscore

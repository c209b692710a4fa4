#include "cpu/rows/rows.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/cosine.h"

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

}  // namespace

void to_bf16(const float* in, int64_t count, uint16_t* out) {
    for (int64_t k = 0; k < count; ++k) {
        uint32_t bits;
        std::memcpy(&bits, in + k, 4);
        out[k] = static_cast<uint16_t>(bits >> 16);
    }
}

void store_in_tile(const float* row, int64_t depth, int rows, int64_t r, float* tile) {
    for (int64_t k = 0; k < depth; k += kChunk)
        std::memcpy(tile + k * rows + r * kChunk, row + k, kChunk * sizeof(float));
}

RowFacts Format::facts(double norm2) const {
    RowFacts f;
    f.exponent = norm_exponent(norm2);
    f.norm = std::ldexp(std::sqrt(norm2), -f.exponent);
    f.m = cosine ? f.norm : std::ldexp(1.0, -f.exponent);
    f.plain = cosine || std::abs(f.exponent) <= kPlainExponent;
    return f;
}

RowFacts Format::facts(const double* x, int64_t n) const {
    const double norm2 = target->dot(x, x, n);
    if (norm2 >= kLeastNorm2 && (cosine ? std::isfinite(norm2) : norm2 <= 1 / kLeastNorm2)) return facts(norm2);
    RowFacts f;
    if (cosine) {
        f.bad = std::all_of(x, x + n, [](double v) { return v == 0; }) ? kZero : kOutOfRange;
        return f;
    }
    double largest = 0, sum = 0;
    for (int64_t k = 0; k < n; ++k) largest = std::max(largest, std::abs(x[k]));
    if (std::isinf(largest)) {  // a difference beyond float64
        f.bad = kOutOfRange;
        return f;
    }
    f.norm = 0;
    if (largest > 0) {
        const int e = std::ilogb(largest);
        for (int64_t k = 0; k < n; ++k) sum += std::pow(std::ldexp(x[k], -e), 2);
        f.exponent = e + norm_exponent(sum);
        f.norm = std::ldexp(std::sqrt(sum), e - f.exponent);
    }
    f.m = std::ldexp(1.0, -f.exponent);
    f.plain = std::abs(f.exponent) <= kPlainExponent;
    return f;
}

RowReader::RowReader(const Format& format, const View& view)
    : format_(format),
      view_(view),
      wide_(!fits_float32(view.dtype)),
      floats_(fits_float32(view.dtype) && !view.swapped && view.col_stride == element_bytes(view.dtype) &&
              format.origin == nullptr),
      floats_values_(view.dtype == DType::f32 ? 0 : view.dim),
      values_(view.dim),
      from_origin_(format.origin ? view.dim : 0) {}

const void* RowReader::floats(int64_t row) {
    if (view_.dtype == DType::f32) return address(row);
    if (row != floats_row_) {
        format_.target->decode_row(address(row), view_.dim, view_.dtype, floats_values_.data());
        floats_row_ = row;
    }
    return floats_values_.data();
}

const double* RowReader::values(int64_t row) {
    if (row != row_) {
        finite_ = format_.target->load_row(view_, row, values_.data());
        row_ = row;
    }
    return values_.data();
}

const double* RowReader::finite_values(int64_t row) {
    const double* x = values(row);
    return finite_ ? x : nullptr;
}

RowFacts RowReader::read(int64_t row, float* scaled) {
    const Target& target = *format_.target;
    const bool round_bf16 = format_.precision == Precision::bf16;
    if (floats_) {  // the same facts and values without the way over float64
        constexpr double kMost = 0x1p160;
        const void* x = floats(row);
        if (row + 1 < view_.rows) prefetch(row + 1, view_.dim * view_.col_stride);
        const double norm2 = target.norm2_f32(x, view_.dim);
        if (norm2 > 1 / kMost && norm2 < kMost) {
            const RowFacts f = format_.facts(norm2);
            target.scale_f32(x, view_.dim, std::ldexp(1.0f, -f.exponent), round_bf16, scaled);
            return f;
        }
    }
    const double* x = values(row);
    RowFacts f;
    if (!finite_) {
        f.bad = kNonFinite;
        return f;
    }
    if (format_.origin) {
        for (int64_t k = 0; k < view_.dim; ++k) from_origin_[k] = x[k] - format_.origin[k];
        x = from_origin_.data();
    }
    f = format_.facts(x, view_.dim);
    if (f.bad == kGood) target.scale_row(x, view_.dim, f.exponent, round_bf16, scaled);
    return f;
}

double RowReader::exact_similarity(int64_t i, RowReader& other, int64_t j) {
    const double dot = exact_dot(values(i), other.values(j), wide_ || other.wide_);
    return format_.cosine ? cosine_of(dot, exact_norm2(i), other.exact_norm2(j)) : dot;
}

double RowReader::distance2(int64_t i, RowReader& other, int64_t j) {
    const double factor = format_.cosine ? 1 / std::sqrt(exact_norm2(i)) : 1;
    const double other_factor = format_.cosine ? 1 / std::sqrt(other.exact_norm2(j)) : 1;
    return format_.target->distance2(values(i), factor, other.values(j), other_factor, view_.dim);
}

double RowReader::dot(int64_t i, RowReader& other, int64_t j) {
    const Target& target = *format_.target;
    const double* x = values(i);
    if (!other.floats_) return target.dot(x, other.values(j), view_.dim);
    return target.dot_f32(x, other.floats(j), view_.dim);
}

void RowReader::prefetch(int64_t row, int64_t most) const {
    if (!floats_) return;
    const char* p = address(row);
    for (int64_t byte = 0; byte < std::min(view_.dim * view_.col_stride, most); byte += 64)
        __builtin_prefetch(p + byte);
}

void RowReader::scaled(int64_t row, int exponent, float* out) {
    const bool round_bf16 = format_.precision == Precision::bf16;
    if (floats_ && std::abs(exponent) < 100)
        format_.target->scale_f32(floats(row), view_.dim, std::ldexp(1.0f, -exponent), round_bf16, out);
    else
        format_.target->scale_row(values(row), view_.dim, exponent, round_bf16, out);
}

const float* RowReader::padded_floats(int64_t row, float* room) {
    const char* p = address(row);
    const bool aligned = reinterpret_cast<uintptr_t>(p) % alignof(float) == 0;
    if (floats_ && view_.dtype == DType::f32 && view_.dim % 32 == 0 && aligned)
        return reinterpret_cast<const float*>(p);
    if (floats_)
        format_.target->decode_row(p, view_.dim, view_.dtype, room);
    else
        format_.target->scale_row(values(row), view_.dim, 0, false, room);
    return room;
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
    count_ = rows_.size();
}

std::vector<std::pair<int64_t, int>> BadRows::sorted() const {
    auto out = rows_;
    std::sort(out.begin(), out.end());
    if (out.size() > most_) out.resize(most_);
    return out;
}

std::vector<std::pair<int64_t, int>> check_rows(const View& view, const Format& format, size_t most, int n_threads,
                                                const Poll& poll) {
    constexpr int64_t kStep = 64;
    BadRows bad(most);
    std::atomic<int64_t> next{0};
    const int64_t steps = (view.rows + kStep - 1) / kStep;
    const double operations = 5.0 * static_cast<double>(view.rows) * static_cast<double>(view.dim);
    Team team(useful_threads(n_threads, steps, operations), steps, poll);
    team.run([&](int worker) {
        RowReader reader(format, view);
        Buffer<float> scaled(view.dim);
        for (int64_t step; !bad.full() && (step = next.fetch_add(1)) < steps;) {
            if (!team.advance(worker, 1)) return;
            for (int64_t i = step * kStep; i < std::min(view.rows, (step + 1) * kStep); ++i) {
                const RowFacts f = reader.read(i, scaled.data());
                if (f.bad != kGood) bad.add(i, f.bad);
            }
        }
    });
    return bad.sorted();
}

double bf16_rest(const View& view, const Target& target, int n_threads, const Poll& poll) {
    constexpr int64_t kStep = 256;
    Format format;
    format.target = &target;
    format.precision = Precision::fp32;
    std::atomic<int64_t> next{0};
    const int64_t steps = (view.rows + kStep - 1) / kStep;
    std::vector<double> largest(static_cast<size_t>(steps), 0.0);
    Team team(useful_threads(n_threads, steps, 10.0 * static_cast<double>(view.rows * view.dim)), steps, poll);
    team.run([&](int worker) {
        RowReader reader(format, view);
        Buffer<float> x(view.dim), y(view.dim);
        for (int64_t step; (step = next.fetch_add(1)) < steps;) {
            double& most = largest[static_cast<size_t>(step)];
            for (int64_t i = step * kStep; i < std::min(view.rows, (step + 1) * kStep); ++i) {
                const RowFacts f = reader.read(i, x.data());
                target.scale_f32(x.data(), view.dim, 1.0f, true, y.data());
                double sum = 0;
                for (int64_t k = 0; k < view.dim; ++k) {
                    const double off = static_cast<double>(x[k]) - static_cast<double>(y[k]);
                    sum += off * off;
                }
                most = std::max(most, std::sqrt(sum) / f.norm);
            }
            if (!team.advance(worker, 1)) return;
        }
    });
    return steps == 0 ? 0 : *std::max_element(largest.begin(), largest.end());
}

int useful_threads(int limit, int64_t items, double operations) {
    // A thread costs about 20 microseconds; give each at least ten times that at 50 operations a nanosecond.
    const double wanted = std::max(1.0, operations / 1e7);
    return static_cast<int>(std::max<int64_t>(1, std::min<int64_t>({limit, items, static_cast<int64_t>(wanted)})));
}

}  // namespace hnscore

// Rows as float64 in memory of their own, and groups of rows of the caller that are compared with them.
#pragma once

#include <algorithm>
#include <cmath>

#include "core/buffer.h"
#include "cpu/target/target.h"

namespace hnscore {

constexpr int64_t padded_values(int64_t dim) { return (dim + 7) / 8 * 8; }

// The few rows that all others are compared with: those picked, those labeled, the candidates of a step.
struct PackedRows {
    PackedRows(const Target& t, int64_t dim, int64_t capacity)
        : target(&t), pitch(padded_values(dim)), values(capacity * pitch), norms(capacity) {}
    void append(const View& view, int64_t row) {
        double* out = values.data() + size * pitch;
        target->load_rows(view, &row, 1, pitch, out);
        norms[size++] = std::sqrt(target->dot(out, out, pitch));
    }

    const Target* target;
    int64_t pitch, size = 0;
    Buffer<double> values, norms;
};

// Up to kRows rows of a view, read as float64: one thread's. With kColumns packed rows they fit half of a usual
// second-level cache up to dim 1024.
class RowGroup {
  public:
    // Kernels are formed in whole vectors from any column on: they need room behind the last.
    static constexpr int64_t kRows = 32, kColumns = 48, kPitch = kColumns + 8;

    RowGroup(const Target& target, const View& view)
        : target_(target),
          view_(view),
          pitch_(padded_values(view.dim)),
          values_(kRows * pitch_),
          products_(kRows * kPitch) {
        std::fill(values_.data(), values_.data() + kRows * pitch_, 0.0);
    }
    void read(const int64_t* rows, int64_t count) {
        count_ = count;
        target_.load_rows(view_, rows, count, pitch_, values_.data());
    }
    const double* values(int64_t i) const { return values_.data() + i * pitch_; }
    double norm(int64_t i) const { return std::sqrt(target_.dot(values(i), values(i), pitch_)); }

    // Products with the packed rows from .. to - 1, at most kColumns.
    void multiply(const PackedRows& packed, int64_t from, int64_t to) {
        target_.dots(values_.data(), (count_ + 3) / 4 * 4, packed.values.data() + from * pitch_, to - from, pitch_,
                     products_.data(), kPitch);
    }
    double* products(int64_t i) const { return products_.data() + i * kPitch; }

  private:
    const Target& target_;
    const View view_;
    const int64_t pitch_;
    int64_t count_ = 0;
    Buffer<double> values_, products_;
};

}  // namespace hnscore

#include "cpu/cascade/encode.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace hnscore {
namespace {

double row_bound(const Code& c, double tail2, const BoundWeights& w) {
    const double e = c.error + 0x1p-20 * c.size, h = c.size;
    return std::sqrt(tail2 + w.g * e * e + w.k * h * h) * (1 + 0x1p-20);
}

double column_bound(const Code& c, double tail2, const BoundWeights& w) {
    const double e = c.error + 0x1p-20 * c.size, h = c.size + e;
    return std::sqrt(tail2 + h * h / w.g + e * e / w.k) * (1 + 0x1p-20);
}

}  // namespace

Encoder::Encoder(const Plan& plan, const Format& format, int64_t dim)
    : plan_(plan),
      format_(format),
      dim_(dim),
      first_depth_(plan.basis ? plan.basis->count : whole_depth(format.target->screen, dim)),
      first_bytes_(first_depth_ * format.target->screen.code_bytes),
      second_bytes_(plan.refines(format) ? second_depth(dim) : 0),
      projected_pitch_(plan.basis ? plan.basis->panels * format.target->fp32.cols : 0),
      values_(second_depth(dim)),
      tile_(plan.basis ? format.target->fp32.rows * whole_depth(format.target->screen, dim) : 0),
      projected_(format.target->fp32.rows * projected_pitch_),
      scratch_(3 * format.target->fp32.rows * format.target->fp32.cols),
      first_(format.target->fp32.rows * first_bytes_),
      second_(format.target->fp32.rows * second_bytes_) {
    std::memset(values_.data(), 0, static_cast<size_t>(values_.bytes()));  // the padding stays 0
    if (plan.basis) std::memset(tile_.data(), 0, static_cast<size_t>(tile_.bytes()));
    const auto rows = static_cast<size_t>(format.target->fp32.rows);
    facts_.resize(rows);
    first_code_.resize(rows);
    second_code_.resize(rows);
    first_bound_.resize(rows);
    second_bound_.resize(rows);
}

void Encoder::add(const RowFacts& facts) {
    if (finished_) count_ = 0;
    finished_ = false;
    const int64_t r = count_++;
    const auto at = static_cast<size_t>(r);
    const ScreenKernels& screen = format_.target->screen;
    facts_[at] = facts;
    if (!plan_.basis) {
        first_code_[at] = screen.encode(values_.data(), first_depth_, first_.data() + r * first_bytes_);
        return;
    }
    store_in_tile(values_.data(), whole_depth(screen, dim_), format_.target->fp32.rows, r, tile_.data());
    if (second_bytes_)
        second_code_[at] = screen.encode_int8(values_.data(), second_depth(dim_), second_.data() + r * second_bytes_);
}

void Encoder::finish(bool as_columns) {
    finished_ = true;
    if (plan_.basis)
        format_.target->product(
            reinterpret_cast<const char*>(tile_.data()), reinterpret_cast<const char*>(plan_.basis->packed.data()),
            plan_.basis->panel_bytes, static_cast<int>(plan_.basis->panels), padded_depth(dim_),
            chunks_per_group(padded_depth(dim_)) * kChunk, scratch_.data(), projected_.data(), projected_pitch_);
    const auto bound = as_columns ? column_bound : row_bound;
    const ScreenKernels& screen = format_.target->screen;
    for (int64_t r = 0; r < count_; ++r) {
        const auto at = static_cast<size_t>(r);
        const double norm = facts_[at].norm, slack = 0x1p-18 * norm * norm;
        double tail2 = slack;
        Code& code = first_code_[at];
        if (plan_.basis) {
            code = screen.encode(projected(r), first_depth_, first_.data() + r * first_bytes_);
            // Each of the sums is off by at most `chain_units` of |x'| times its basis vector, together:
            const double lost = 1.02 * chain_units(dim_) * kUnit * norm * std::sqrt(static_cast<double>(first_depth_));
            const double on_basis = std::max(0.0, code.norm - lost);
            tail2 += std::max(0.0, norm * norm - on_basis * on_basis);
            code.error += static_cast<float>(lost * (1 + 0x1p-20));
        }
        first_bound_[at] = {code.unit, bound(code, tail2, plan_.first), -screen.row_offset * code.sum};
        const Code& second = second_code_[at];
        if (second_bytes_)
            second_bound_[at] = {second.unit, bound(second, slack, plan_.second), -screen.second_offset * second.sum};
    }
}

ColumnCodes::ColumnCodes(const Plan& plan, const Format& format, int64_t rows, int64_t dim)
    : width(format.target->screen.cols),
      words(static_cast<uint32_t>((plan.basis ? plan.basis->count : whole_depth(format.target->screen, dim)) *
                                  format.target->screen.code_bytes / 4)),
      padded((rows + width - 1) / width * width),
      panel_bytes(static_cast<int64_t>(words) * width * 4),
      pitch(plan.refines(format) ? second_depth(dim) : 0),
      panels(padded / width * panel_bytes),
      listed(padded * pitch) {
    const auto make = [&](Pass& pass) {
        pass.init = Buffer<int32_t>(padded);
        pass.unit = Buffer<float>(padded);
        pass.bound = Buffer<float>(padded);
    };
    make(first);
    if (pitch) make(second);
    // Padding columns: codes of zeros, and limits (cpu/dense/limits.h) that nothing reaches.
    for (int64_t j = rows; j < padded; ++j) {
        first.init[j] = 0;
        first.unit[j] = 1;
        first.bound[j] = 0;
        for (uint32_t k = 0; k < words; ++k)
            std::memset(panels.data() + j / width * panel_bytes + (k * width + j % width) * 4, 0, 4);
    }
}

void ColumnCodes::store(Encoder& encoder, int64_t begin) {
    encoder.finish(true);
    const auto set = [](Pass& pass, int64_t j, const Bound& b) {
        pass.init[j] = b.init;
        pass.unit[j] = b.unit;
        pass.bound[j] = static_cast<float>(b.bound / b.unit * (1 + 0x1p-20));
    };
    for (int64_t r = 0; r < encoder.count(); ++r) {
        const int64_t j = begin + r;
        char* out = panels.data() + j / width * panel_bytes + j % width * 4;
        const char* in = encoder.first(r);
        for (uint32_t k = 0; k < words; ++k) std::memcpy(out + int64_t{k} * width * 4, in + k * 4, 4);
        set(first, j, encoder.first_bound(r));
        if (!pitch) continue;
        std::memcpy(listed.data() + j * pitch, encoder.second(r), static_cast<size_t>(pitch));
        set(second, j, encoder.second_bound(r));
    }
}

int64_t ColumnCodes::bytes() const { return panels.bytes() + listed.bytes() + padded * (pitch ? 24 : 12); }

}  // namespace hnscore

// What is known of a row block's rows, as the kernels want it: one number a row, in the units of cpu/target/target.h.
#pragma once

#include <cmath>
#include <limits>
#include <vector>

#include "cpu/dense/limits.h"

namespace hnscore {

// Of |x - t|^2 from float32 products, relative to |x|^2 + |t|^2: the 8 units that a product is known to reach, and the
// rounding of the squares and their sum.
constexpr float kSquareError = 11 * static_cast<float>(kUnit);

struct RowLimits {
    RowLimits(const Job& of, int64_t size)
        : job(of),
          format(of.columns->format),
          scale(size),
          scale_low(size),
          band(size),
          limit(size),
          factor(size),
          weight(size),
          variance(size),
          square(size),
          spread(size),
          mask(size),
          group(size),
          owner(size),
          order(size),
          m(static_cast<size_t>(size)),
          plain(static_cast<size_t>(size)) {}

    // Row i of the block, row `row` of the call; or, where it is not real, the padding of the last tile.
    void set(int64_t i, int64_t row, bool real, const RowFacts& f, const Packed& packed) {
        const Rules& r = job.rules;
        const double exact_m = f.m / packed.unit;
        const auto m32 = static_cast<float>(exact_m);
        const bool serves = f.plain && (format.cosine || std::abs(std::log2(exact_m)) <= kPlainExponent);
        m[static_cast<size_t>(i)] = exact_m;
        plain[static_cast<size_t>(i)] = serves;
        scale[i] = serves ? m32 : std::numeric_limits<float>::quiet_NaN();
        scale_low[i] = serves ? static_cast<float>(exact_m - m32) : 0;
        band[i] = static_cast<float>(band_of_row(band_packing(format, packed), f.norm) / packed.unit * (1 + 0x1p-20));
        spread[i] = static_cast<float>(spread_of(packed, job.columns->dim));
        limit[i] = real && r.max_similarity && r.max_similarity_of_rows
                       ? static_cast<float>(r.max_similarity[row] * exact_m)
                       : m32;
        if (!serves) limit[i] = scale[i];
        factor[i] = static_cast<float>(1 / (exact_m * job.temperature));
        mask[i] = real ? ~uint32_t{0} : 0;
        group[i] = real && r.row_group ? r.row_group[row] : -1;
        owner[i] = real && r.row_owner ? r.row_owner[row] : -1;
        order[i] = real ? (r.triangle ? static_cast<int32_t>(row) : -1) : std::numeric_limits<int32_t>::max();
        weight[i] = real && job.terms.row_weight ? static_cast<float>(job.terms.row_weight[row]) : 1;
        variance[i] = real && job.terms.row_variance ? static_cast<float>(job.terms.row_variance[row]) : 1;
        square[i] = format.cosine ? 1 : static_cast<float>(std::pow(std::ldexp(f.norm, f.exponent), 2));
    }

    void put(TileBlock& b) const {
        b.row_scale = scale.data();
        b.row_scale_low = scale_low.data();
        b.row_band = band.data();
        b.row_limit = limit.data();
        b.row_factor = factor.data();
        b.row_spread = spread.data();
        b.row_mask = mask.data();
        b.row_group = group.data();
        b.row_owner = owner.data();
        b.row_order = order.data();
        b.row_weight = weight.data();
        b.row_variance = variance.data();
        b.row_square = square.data();
        b.square_error = format.precision == Precision::exact ? kSquareError : 0;
    }

    const Job& job;
    const Format format;
    Buffer<float> scale, scale_low, band, limit, factor, weight, variance, square, spread;
    Buffer<uint32_t> mask;
    Buffer<int32_t> group, owner, order;
    std::vector<double> m;    // m_i in the units of what is packed
    std::vector<char> plain;  // float32 serves
};

}  // namespace hnscore

// Cosines and kernels of whole rows in float64, for selections that must be decided without a doubt. Every pair's
// products are summed in one order whatever the tile it is in, so that equal rows get equal values.
#pragma once

#include "cpu/kernels/rows-inl.h"

namespace hnscore {
namespace HNSCORE_NS {

// Float32 values from anywhere, without the look at each that load_row takes.
HNSCORE_INLINE void widen_row(const char* p, int64_t n, double* out) {
    int64_t k = 0;
    for (; k + kDoubles <= n; k += kDoubles) {
        const Doubles values = static_cast<Doubles>(Simd::widen(p + 4 * k));
        std::memcpy(out + k, &values, sizeof values);
    }
    for (; k < n; ++k) out[k] = static_cast<double>(load_element<float>(p + 4 * k, false));
}

// Rows of a view as float64, each followed by zeros up to `pitch`, a multiple of 8.
inline void load_rows(const View& v, const int64_t* rows, int64_t count, int64_t pitch, double* out) {
    const bool packed = !v.swapped && v.col_stride == element_bytes(v.dtype);
    for (int64_t i = 0; i < count; ++i, out += pitch) {
        const char* p = v.data + rows[i] * v.row_stride;
        if (packed && i + 1 < count) {
            const char* next = v.data + rows[i + 1] * v.row_stride;
            for (int64_t byte = 0; byte < v.dim * v.col_stride; byte += 64) __builtin_prefetch(next + byte);
        }
        if (packed && v.dtype == DType::f32) {
            widen_row(p, v.dim, out);
        } else if (packed && v.dtype == DType::f16) {
            constexpr int64_t kPart = 256;
            alignas(64) float part[kPart];
            for (int64_t k = 0; k < v.dim; k += kPart) {
                const int64_t n = v.dim - k < kPart ? v.dim - k : kPart;
                decode_f16<Simd>(p + 2 * k, n, part);
                widen_row(reinterpret_cast<const char*>(part), n, out + k);
            }
        } else {
            load_row(v, rows[i], out);
        }
        for (int64_t k = v.dim; k < pitch; ++k) out[k] = 0;
    }
}

// One accumulator a pair. 4 rows with 6 columns keep 24 on registers where there are 32, and 4 with 2 where there
// are 16.
constexpr int kDotRows = 4, kDotColumns = kDoubles == 8 ? 6 : 2;

template <int kColumns>
HNSCORE_INLINE void dots_tile(const double* rows, const double* columns, int64_t pitch, double* out,
                              int64_t out_pitch) {
    Doubles sum[kDotRows][kColumns] = {};
    for (int64_t k = 0; k < pitch; k += kDoubles) {
        Doubles column[kColumns];
#pragma GCC unroll 8
        for (int c = 0; c < kColumns; ++c) column[c] = load_doubles(columns + c * pitch + k);
#pragma GCC unroll 8
        for (int r = 0; r < kDotRows; ++r) {
            const Doubles row = load_doubles(rows + r * pitch + k);
#pragma GCC unroll 8
            for (int c = 0; c < kColumns; ++c) sum[r][c] = static_cast<Doubles>(Simd::fma(row, column[c], sum[r][c]));
        }
    }
    for (int r = 0; r < kDotRows; ++r)
        for (int c = 0; c < kColumns; ++c) {
            double total = 0;
            for (int l = 0; l < kDoubles; ++l) total += sum[r][c][l];
            out[r * out_pitch + c] = total;
        }
}

// out[i * out_pitch + j] = rows_i . columns_j; n_rows is a multiple of 4.
inline void dots(const double* rows, int64_t n_rows, const double* columns, int64_t n_columns, int64_t pitch,
                 double* out, int64_t out_pitch) {
    int64_t j = 0;
    for (; j + kDotColumns <= n_columns; j += kDotColumns)
        for (int64_t i = 0; i < n_rows; i += kDotRows)
            dots_tile<kDotColumns>(rows + i * pitch, columns + j * pitch, pitch, out + i * out_pitch + j, out_pitch);
    for (; j + 2 <= n_columns; j += 2)
        for (int64_t i = 0; i < n_rows; i += kDotRows)
            dots_tile<2>(rows + i * pitch, columns + j * pitch, pitch, out + i * out_pitch + j, out_pitch);
    for (; j < n_columns; ++j)
        for (int64_t i = 0; i < n_rows; i += kDotRows)
            dots_tile<1>(rows + i * pitch, columns + j * pitch, pitch, out + i * out_pitch + j, out_pitch);
}

// exp(x) for x <= 0 within 2 units in the last place; 0 below -708, where the normal numbers end.
HNSCORE_INLINE Doubles exp_below(Doubles x) {
    typedef unsigned long long Bits __attribute__((vector_size(sizeof(Doubles))));
    constexpr double kMagic = 0x1.8p52;  // added and taken off again: rounds to an integer, which its low bits hold
    const auto vanishes = x < -708.0;
    x = vanishes ? Doubles{} : x;
    const Doubles shifted = x * 0x1.71547652b82fep0 + kMagic, n = shifted - kMagic;
    const Doubles r = (x - n * 0x1.62e42fefa38p-1) - n * 0x1.ef35793c7673p-45;  // ln 2 in two parts
    constexpr double kInverse[] = {
        1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320, 1.0 / 5040,
        1.0 / 720,        1.0 / 120,       1.0 / 24,       1.0 / 6,       0.5,          1.0,         1.0};
    Doubles p = Doubles{} + kInverse[0];
#pragma GCC unroll 16
    for (int i = 1; i < 14; ++i) p = static_cast<Doubles>(Simd::fma(p, r, Doubles{} + kInverse[i]));
    const Bits scaled = reinterpret_cast<Bits>(p) + (reinterpret_cast<Bits>(shifted) << 52);
    return vanishes ? Doubles{} : reinterpret_cast<Doubles>(scaled);
}

// The dot products of one row with n others become cosines, at most 1.
inline void cosines(double* dots_of_row, int64_t n, double norm, const double* norms) {
    for (int64_t j = 0; j < n; ++j) {
        const double s = dots_of_row[j] / (norm * norms[j]);
        dots_of_row[j] = s < 1 ? s : 1;
    }
}

// exp((s - 1) / temperature) of n cosines, in place; `s` has room for a multiple of 8.
inline void kernels_of_cosines(double* s, int64_t n, double temperature) {
    for (int64_t j = 0; j < n; j += kDoubles) {
        const Doubles value = exp_below((load_doubles(s + j) - 1.0) / temperature);
        std::memcpy(s + j, &value, sizeof value);
    }
}

}  // namespace HNSCORE_NS
}  // namespace hnscore

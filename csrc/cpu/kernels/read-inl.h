// Values of any dtype as float64 and as float32. Loops are plain C++ that the compiler vectorises.
#pragma once

#include <cstring>

#include "cpu/kernels/common-inl.h"

namespace hnscore {
namespace HNSCORE_NS {

// One register of float64 values.
typedef double Doubles __attribute__((vector_size(sizeof(Simd::F32))));
constexpr int kDoubles = sizeof(Doubles) / sizeof(double);

HNSCORE_INLINE Doubles load_doubles(const double* p) {
    Doubles x;
    std::memcpy(&x, p, sizeof x);
    return x;
}

template <class T>
HNSCORE_INLINE T load_element(const char* p, bool swapped) {
    T value;
    if (!swapped) {
        std::memcpy(&value, p, sizeof(T));
        return value;
    }
    char bytes[sizeof(T)];
    for (unsigned i = 0; i < sizeof(T); ++i) bytes[i] = p[sizeof(T) - 1 - i];
    std::memcpy(&value, bytes, sizeof(T));
    return value;
}

// float16 by its bits. Subnormals take the second branch: their significand is added to 2^-14 and 2^-14 taken off
// again, so that no subnormal float32 appears whatever the machine does with those.
HNSCORE_INLINE double from_f16(uint16_t h) {
    const uint32_t magnitude = static_cast<uint32_t>(h & 0x7fff) << 13, sign = static_cast<uint32_t>(h & 0x8000) << 16;
    const uint32_t exponent = magnitude & 0x0f800000;
    const uint32_t special = exponent == 0x0f800000 ? (255u - 31u) << 23 : (127u - 15u) << 23;
    const uint32_t offset = exponent == 0 ? 113u << 23 : special;
    const uint32_t bits = magnitude + offset;
    float value, base;
    const uint32_t base_bits = exponent == 0 ? 113u << 23 : 0;
    std::memcpy(&value, &bits, 4);
    std::memcpy(&base, &base_bits, 4);
    value -= base;
    uint32_t out;
    std::memcpy(&out, &value, 4);
    out |= sign;
    std::memcpy(&value, &out, 4);
    return value;
}
HNSCORE_INLINE double from_bf16(uint16_t h) {
    const uint32_t bits = static_cast<uint32_t>(h) << 16;
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}

template <class T, class Convert>
HNSCORE_INLINE bool read_row(const char* p, int64_t n, int64_t stride, bool swapped, double* out, Convert convert) {
    if (stride == static_cast<int64_t>(sizeof(T)) && !swapped) {
        for (int64_t k = 0; k < n; ++k)
            out[k] = convert(load_element<T>(p + k * static_cast<int64_t>(sizeof(T)), false));
    } else {
        for (int64_t k = 0; k < n; ++k) out[k] = convert(load_element<T>(p + k * stride, swapped));
    }
    // x * 0 is NaN exactly where x is not finite; sums collect them without a branch, four side by side as below.
    Doubles check[4] = {};
    int64_t k = 0;
    for (; k + 4 * kDoubles <= n; k += 4 * kDoubles)
        for (int c = 0; c < 4; ++c) check[c] += load_doubles(out + k + c * kDoubles) * 0.0;
    double sum = 0;
    for (; k < n; ++k) sum += out[k] * 0.0;
    const Doubles lanes = (check[0] + check[1]) + (check[2] + check[3]);
    for (int l = 0; l < kDoubles; ++l) sum += lanes[l];
    return sum == 0;
}

inline bool load_row(const View& v, int64_t row, double* out) {
    const char* p = v.data + row * v.row_stride;
    const auto plain = [](auto x) { return static_cast<double>(x); };
    switch (v.dtype) {
        case DType::f16:
            return read_row<uint16_t>(p, v.dim, v.col_stride, v.swapped, out, from_f16);
        case DType::bf16:
            return read_row<uint16_t>(p, v.dim, v.col_stride, v.swapped, out, from_bf16);
        case DType::f32:
            return read_row<float>(p, v.dim, v.col_stride, v.swapped, out, plain);
        case DType::f64:
            return read_row<double>(p, v.dim, v.col_stride, v.swapped, out, plain);
        case DType::i8:
            return read_row<int8_t>(p, v.dim, v.col_stride, v.swapped, out, plain);
        case DType::u8:
            return read_row<uint8_t>(p, v.dim, v.col_stride, v.swapped, out, plain);
        case DType::i16:
            return read_row<int16_t>(p, v.dim, v.col_stride, v.swapped, out, plain);
        case DType::u16:
            return read_row<uint16_t>(p, v.dim, v.col_stride, v.swapped, out, plain);
        case DType::i32:
            return read_row<int32_t>(p, v.dim, v.col_stride, v.swapped, out, plain);
        case DType::u32:
            return read_row<uint32_t>(p, v.dim, v.col_stride, v.swapped, out, plain);
        case DType::i64:
            return read_row<int64_t>(p, v.dim, v.col_stride, v.swapped, out, plain);
        case DType::u64:
            return read_row<uint64_t>(p, v.dim, v.col_stride, v.swapped, out, plain);
    }
    return false;
}

template <class T>
HNSCORE_INLINE void decode(const char* p, int64_t n, float* out) {
    for (int64_t k = 0; k < n; ++k)
        out[k] = static_cast<float>(load_element<T>(p + k * static_cast<int64_t>(sizeof(T)), false));
}

template <class S>
HNSCORE_INLINE void decode_f16(const char* p, int64_t n, float* out) {
    int64_t k = 0;
    if constexpr (S::kReadsF16)
        for (; k + kLanes <= n; k += kLanes) {
            const Simd::F32 values = S::from_f16(p + 2 * k);
            std::memcpy(out + k, &values, sizeof values);
        }
    for (; k < n; ++k) out[k] = static_cast<float>(from_f16(load_element<uint16_t>(p + 2 * k, false)));
}

inline void decode_row(const void* row, int64_t n, DType dtype, float* out) {
    const char* p = static_cast<const char*>(row);
    switch (dtype) {
        case DType::f16:
            return decode_f16<Simd>(p, n, out);
        case DType::bf16:
            for (int64_t k = 0; k < n; ++k)
                out[k] = static_cast<float>(from_bf16(load_element<uint16_t>(p + 2 * k, false)));
            return;
        case DType::f32:
            return decode<float>(p, n, out);
        case DType::i8:
            return decode<int8_t>(p, n, out);
        case DType::u8:
            return decode<uint8_t>(p, n, out);
        case DType::i16:
            return decode<int16_t>(p, n, out);
        case DType::u16:
            return decode<uint16_t>(p, n, out);
        default:
            return;
    }
}

}  // namespace HNSCORE_NS
}  // namespace hnscore

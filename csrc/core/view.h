// A view of the caller's embeddings: where the rows lie and how to read them. It never owns and never copies.
#pragma once

#include <cstdint>

#include "core/both.h"

namespace hnscore {

enum class DType : int { f16, bf16, f32, f64, i8, u8, i16, u16, i32, u32, i64, u64 };

// Values of these types have at most 24 significant bits, so that a product of two is exact in float64.
constexpr HNSCORE_BOTH bool fits_float32(DType t) { return t != DType::f64 && t < DType::i32; }

constexpr int64_t element_bytes(DType t) {
    return t == DType::i8 || t == DType::u8                         ? 1
           : t <= DType::bf16 || t == DType::i16 || t == DType::u16 ? 2
           : t == DType::f32 || t == DType::i32 || t == DType::u32  ? 4
                                                                    : 8;
}

struct View {
    const char* data;
    int64_t rows, dim;
    int64_t row_stride, col_stride;  // bytes; zero and negative strides are fine
    DType dtype;
    bool swapped;  // bytes in the other order than this machine's
};

}  // namespace hnscore

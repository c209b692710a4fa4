// Rows copied out of the caller's memory: as they are, or as values of another type. A thread for each value.
#pragma once

#include "cuda/rows/exact.h"
#include "cuda/rows/rows.h"

namespace hnscore::gpu {

constexpr int kCopyThreads = 256;

struct Copying {
    Rows rows;
    void* out;  // [count][dim]
    DType dtype;
    bool finite, or_infinity;  // what is not finite is reported; unless it is +inf
    uint64_t* report;
};

template <class T>
HNSCORE_DEVICE void copy_bits(const char* from, void* out, int64_t i) {
    static_cast<T*>(out)[i] = load<T>(from);
}

// Integers keep their bits; float64, which no label is, is cut.
HNSCORE_DEVICE int64_t load_integer(const View& view, const char* row, int64_t k) {
    const char* p = row + k * view.col_stride;
    if (view.dtype == DType::i64 || view.dtype == DType::u64) return load<int64_t>(p);
    return static_cast<int64_t>(load_value(view, row, k));
}

HNSCORE_KERNEL(kCopyThreads) copy_kernel(const HNSCORE_GRID_CONSTANT Copying p) {
    const int64_t i = static_cast<int64_t>(block()) * kCopyThreads + thread();
    const View& view = p.rows.view;
    if (i >= p.rows.count * view.dim) return;
    const int64_t row = i / view.dim, k = i % view.dim;
    const char* from = row_address(p.rows, row);
    if (p.finite) {
        const double x = load_value(view, from, k);
        if (!std::isfinite(x) && !(p.or_infinity && x > 0))
            atomic_min(p.report, bad_row_report(p.rows.pick ? p.rows.pick[row] : row, kNonFinite));
    }
    if (p.dtype == view.dtype) {
        const char* value = from + k * view.col_stride;
        switch (element_bytes(view.dtype)) {
            case 1:
                return copy_bits<uint8_t>(value, p.out, i);
            case 2:
                return copy_bits<uint16_t>(value, p.out, i);
            case 4:
                return copy_bits<uint32_t>(value, p.out, i);
            default:
                return copy_bits<uint64_t>(value, p.out, i);
        }
    }
    if (p.dtype == DType::i64)
        static_cast<int64_t*>(p.out)[i] = load_integer(view, from, k);
    else if (p.dtype == DType::f32)
        static_cast<float*>(p.out)[i] = static_cast<float>(load_value(view, from, k));
    else
        static_cast<double*>(p.out)[i] = load_value(view, from, k);
}

}  // namespace hnscore::gpu

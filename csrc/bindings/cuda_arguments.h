// What Python hands to the GPU backend: addresses as integers, options by name.
#pragma once

#include <functional>

#include "bindings/names.h"
#include "cuda/backend.h"

namespace hnscore::gpu {

using Address = uintptr_t;

template <class T>
T* at(Address address) {
    return reinterpret_cast<T*>(address);
}
inline Stream stream_at(Address address) { return reinterpret_cast<Stream>(address); }

inline bool is_cosine(const std::string& similarity) {
    constexpr const char* kNames[] = {"dot", "cosine"};
    return index_of(kNames, similarity, "similarity") == 1;
}
inline GpuPrecision precision_of(const std::string& name) {
    constexpr const char* kNames[] = {"exact", "fp32", "bf16", "fp16"};
    return static_cast<GpuPrecision>(index_of(kNames, name, "precision"));
}
inline Method method_of(const std::string& name) {
    constexpr const char* kNames[] = {"auto", "dense", "cascade"};
    return static_cast<Method>(index_of(kNames, name, "method"));
}

struct CallContext {
    int device;
    Address stream;
    std::function<Address(size_t)> allocate;
    int64_t slab_bytes;

    Context get() const {
        const Device d = gpu::device(device);
        if (arch_of(d).empty())
            throw GpuError("GPU " + std::to_string(device) + ", " + d.name + ", has compute capability " +
                           std::to_string(d.major) + "." + std::to_string(d.minor) +
                           ", and this build has kernels for " HNSCORE_CUDA_ARCHS);
        return {d, stream_at(stream), [this](size_t bytes) { return at<void>(allocate(bytes)); }, slab_bytes};
    }
};

inline Input rows(Address pointer, int64_t n, int64_t dim, int64_t row_stride, int64_t col_stride, int dtype, int side,
                  Address pick, int64_t count) {
    const auto type = static_cast<DType>(dtype);
    const int64_t bytes = element_bytes(type);
    if (side < 0 || side >= kSides) throw std::invalid_argument("no such side");
    if (static_cast<int64_t>(pointer) % bytes != 0 || row_stride % bytes != 0 || col_stride % bytes != 0)
        throw std::invalid_argument("rows must be aligned to their elements on a GPU");
    return {{{at<const char>(pointer), n, dim, row_stride, col_stride, type, false},
             at<const int64_t>(pick),
             pick && count >= 0 ? count : n},
            side};
}

inline void check_dims(const Input& a, const Input& b) {
    if (a.rows.view.dim != b.rows.view.dim) throw std::invalid_argument("rows and columns differ in dim");
}

inline Rules rules(Address max_similarity, bool of_rows, Address row_groups, Address col_groups,
                   bool negative_groups_differ, Address row_owners, Address col_owners, Address kth_value,
                   Address kth_row, Address skip_value, Address skip_row) {
    return {at<const double>(max_similarity), of_rows,
            at<const int64_t>(row_groups),    at<const int64_t>(col_groups),
            negative_groups_differ,           at<const int64_t>(row_owners),
            at<const int64_t>(col_owners),    at<const double>(kth_value),
            at<const int64_t>(kth_row),       at<const double>(skip_value),
            at<const int64_t>(skip_row)};
}

}  // namespace hnscore::gpu

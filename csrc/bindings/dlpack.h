// Arrays of other libraries in and out by DLPack 0.x: the layout of its two structs is the protocol.
#pragma once

#include <pybind11/pybind11.h>

#include <memory>
#include <vector>

#include "cuda/device/host_memory.h"

namespace hnscore::gpu {

namespace dlpack {

struct Tensor {
    void* data;
    struct {
        int32_t type, id;
    } device;
    int32_t ndim;
    struct {
        uint8_t code, bits;
        uint16_t lanes;
    } dtype;
    int64_t *shape, *strides;  // strides in elements; null: C order
    uint64_t byte_offset;
};

struct Managed {
    Tensor tensor;
    void* context;
    void (*deleter)(Managed*);
};

enum Code : uint8_t { kInt = 0, kUInt = 1, kFloat = 2, kBfloat = 4 };
constexpr int32_t kCuda = 2;

inline Tensor type_of(DType t) {
    Tensor x{};
    const bool real = t <= DType::f64,
               is_signed = t == DType::i8 || t == DType::i16 || t == DType::i32 || t == DType::i64;
    x.dtype.code = t == DType::bf16 ? kBfloat : real ? kFloat : is_signed ? kInt : kUInt;
    x.dtype.bits = static_cast<uint8_t>(8 * element_bytes(t));
    x.dtype.lanes = 1;
    return x;
}

}  // namespace dlpack

// What a capsule describes; kept alive with it.
class External {
  public:
    explicit External(const pybind11::object& capsule) {
        auto* managed = static_cast<dlpack::Managed*>(PyCapsule_GetPointer(capsule.ptr(), "dltensor"));
        if (managed == nullptr) throw pybind11::error_already_set();
        if (PyCapsule_SetName(capsule.ptr(), "used_dltensor") != 0) throw pybind11::error_already_set();
        managed_ = std::shared_ptr<dlpack::Managed>(managed, [](dlpack::Managed* m) {
            if (m->deleter) m->deleter(m);
        });
    }
    uintptr_t pointer() const {
        return reinterpret_cast<uintptr_t>(tensor().data) + static_cast<uintptr_t>(tensor().byte_offset);
    }
    pybind11::tuple shape() const {
        return tuple([&](int d) { return tensor().shape[d]; });
    }
    pybind11::tuple strides() const {
        const int64_t bytes = tensor().dtype.bits / 8;
        return tuple([&](int d) {
            if (tensor().strides) return tensor().strides[d] * bytes;
            int64_t stride = bytes;
            for (int e = d + 1; e < tensor().ndim; ++e) stride *= tensor().shape[e];
            return stride;
        });
    }
    int dtype() const {
        for (int t = 0; t <= static_cast<int>(DType::u64); ++t) {
            const dlpack::Tensor like = dlpack::type_of(static_cast<DType>(t));
            if (like.dtype.code == tensor().dtype.code && like.dtype.bits == tensor().dtype.bits &&
                tensor().dtype.lanes == 1)
                return t;
        }
        return -1;
    }
    int device() const { return tensor().device.id; }

  private:
    const dlpack::Tensor& tensor() const { return managed_->tensor; }
    template <class F>
    pybind11::tuple tuple(F value) const {
        pybind11::tuple out(static_cast<size_t>(tensor().ndim));
        for (int d = 0; d < tensor().ndim; ++d) out[static_cast<size_t>(d)] = pybind11::int_(value(d));
        return out;
    }
    std::shared_ptr<dlpack::Managed> managed_;
};

// A capsule of an array in C order that keeps the memory alive.
inline pybind11::object to_dlpack(const std::shared_ptr<DeviceMemory>& memory, const std::vector<int64_t>& shape,
                                  int dtype) {
    struct Owner {
        dlpack::Managed managed;
        std::vector<int64_t> shape;
        std::shared_ptr<DeviceMemory> memory;
    };
    auto owner = std::make_unique<Owner>();
    owner->shape = shape;
    owner->memory = memory;
    dlpack::Tensor& t = owner->managed.tensor;
    t = dlpack::type_of(static_cast<DType>(dtype));
    t.data = memory->data();
    t.device = {dlpack::kCuda, memory->device()};
    t.ndim = static_cast<int32_t>(shape.size());
    t.shape = owner->shape.data();
    owner->managed.context = owner.get();
    owner->managed.deleter = [](dlpack::Managed* m) { delete static_cast<Owner*>(m->context); };
    const auto destroy = [](PyObject* capsule) {  // a capsule that nobody took
        if (PyCapsule_IsValid(capsule, "dltensor") == 0) return;
        auto* managed = static_cast<dlpack::Managed*>(PyCapsule_GetPointer(capsule, "dltensor"));
        managed->deleter(managed);
    };
    PyObject* capsule = PyCapsule_New(&owner->managed, "dltensor", destroy);
    if (capsule == nullptr) throw pybind11::error_already_set();
    owner.release();
    return pybind11::reinterpret_steal<pybind11::object>(capsule);
}

}  // namespace hnscore::gpu

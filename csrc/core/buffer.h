// Aligned memory for packed operands and workspaces: not initialised, freed with its owner.
#pragma once

#include <cstdint>
#include <new>
#include <utility>

#include "core/system.h"

namespace hnscore {

template <class T>
class Buffer {
  public:
    Buffer() = default;
    explicit Buffer(int64_t count) : count_(count) {
        // From 4 MiB on, huge pages: a panel walk otherwise misses the address cache on every page.
        int64_t bytes;
        if (count < 0 || __builtin_mul_overflow(count, static_cast<int64_t>(sizeof(T)), &bytes) ||
            bytes > INT64_MAX / 2)
            throw std::bad_alloc();
        // Never of no bytes, of which nobody says what they are.
        data_ = static_cast<T*>(system::allocate(bytes + 1, bytes >= 2 * system::kHugePage ? system::kHugePage : 64));
        if (data_ == nullptr) throw std::bad_alloc();
    }
    Buffer(Buffer&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)), count_(std::exchange(other.count_, 0)) {}
    Buffer& operator=(Buffer&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(count_, other.count_);
        return *this;
    }
    ~Buffer() { system::free(data_); }

    T* data() const { return data_; }
    T& operator[](int64_t i) const { return data_[i]; }
    int64_t bytes() const { return count_ * static_cast<int64_t>(sizeof(T)); }

  private:
    T* data_ = nullptr;
    int64_t count_ = 0;
};

}  // namespace hnscore

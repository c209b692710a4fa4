// Aligned memory for packed operands and workspaces: not initialised, freed with its owner.
#pragma once

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <new>
#include <utility>

namespace hnscore {

template <class T>
class Buffer {
  public:
    Buffer() = default;
    explicit Buffer(int64_t count) : count_(count) {
        // From 4 MiB on, huge pages: a panel walk otherwise misses the address cache on every page.
        constexpr int64_t kHuge = 2 << 20;
        int64_t bytes, alignment = 64;
        if (count < 0 || __builtin_mul_overflow(count, static_cast<int64_t>(sizeof(T)), &bytes) ||
            bytes > INT64_MAX / 2)
            throw std::bad_alloc();
        if (bytes >= 2 * kHuge) alignment = kHuge;
        bytes = (bytes + alignment) / alignment * alignment;
        data_ = static_cast<T*>(std::aligned_alloc(static_cast<size_t>(alignment), static_cast<size_t>(bytes)));
        if (data_ == nullptr) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
        if (alignment == kHuge) madvise(data_, static_cast<size_t>(bytes), MADV_HUGEPAGE);
#endif
    }
    Buffer(Buffer&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)), count_(std::exchange(other.count_, 0)) {}
    Buffer& operator=(Buffer&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(count_, other.count_);
        return *this;
    }
    ~Buffer() { std::free(data_); }

    T* data() const { return data_; }
    T& operator[](int64_t i) const { return data_[i]; }
    int64_t bytes() const { return count_ * static_cast<int64_t>(sizeof(T)); }

  private:
    T* data_ = nullptr;
    int64_t count_ = 0;
};

}  // namespace hnscore

// What the checks of the GPU's templates share: seeded random cases, failures that say their case, memory with fences,
// rows of any type. Each check is a property of many random cases; the seed of a case is its number.
#pragma once

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <cstring>
#include <initializer_list>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "core/wide_sum.h"
#include "cuda/device/runtime.h"
#include "cuda/rows/input.h"

namespace properties {

using namespace hnscore;
using namespace hnscore::gpu;

inline int failures = 0;
inline std::string the_case;

template <class... T>
void expect(bool ok, const T&... what) {
    if (ok) return;
    if (++failures > 20) return;
    std::ostringstream text;
    text.precision(17);
    (text << ... << what);
    std::printf("FAILED %s: %s\n", the_case.c_str(), text.str().c_str());
}

// The same number, bit by bit but for NaN.
inline bool same(double a, double b) { return std::memcmp(&a, &b, 8) == 0 || (std::isnan(a) && std::isnan(b)); }

// Everything drawn is spelled out here: the distributions of the standard library differ between libraries.
class Random {
  public:
    explicit Random(uint64_t seed) : bits_(seed) {}
    int64_t integer(int64_t low, int64_t high) {  // both included
        return low + static_cast<int64_t>(bits_() % static_cast<uint64_t>(high - low + 1));
    }
    double uniform() { return static_cast<double>(bits_() >> 11) * 0x1p-53; }
    double uniform(double low, double high) { return low + (high - low) * uniform(); }
    double sign() { return chance(0.5) ? 1 : -1; }
    bool chance(double probability) { return uniform() < probability; }
    uint64_t bits() { return bits_(); }
    template <class T>
    T of(std::initializer_list<T> choices) {
        return choices.begin()[integer(0, static_cast<int64_t>(choices.size()) - 1)];
    }

  private:
    std::mt19937_64 bits_;
};

// Calls body(random) for so many cases. What a case throws (a rule of the emulator broken) is its failure.
template <class Body>
void for_cases(const char* name, int cases, Body body) {
    for (int i = 0; i < cases; ++i) {
        the_case = std::string(name) + ", case " + std::to_string(i);
        emulator::seed(static_cast<unsigned>(i));
        Random random(static_cast<uint64_t>(i) + 1);
        try {
            body(random);
        } catch (const std::exception& error) {
            expect(false, error.what());
        }
    }
}

// Says in which case somebody went beyond a fence (Fenced), rather than nothing at all.
inline void on_fence(int) {
    expect(false, "read or wrote memory that is none of its business");
    std::fflush(stdout);
    _exit(1);
}
inline void catch_fences() {
    static char stack[1 << 16];  // a fiber's own is small
    const stack_t other{stack, 0, sizeof stack};
    sigaltstack(&other, nullptr);
    struct sigaction action{};
    action.sa_handler = on_fence;
    action.sa_flags = SA_ONSTACK;
    sigaction(SIGSEGV, &action, nullptr);
    sigaction(SIGBUS, &action, nullptr);
}

inline int report() {
    if (failures == 0) std::printf("ok\n");
    return failures < 100 ? failures : 100;
}

template <class Body>
void run_body(const Body* body) {
    (*body)();
}

// Runs body() on every thread of so many warps of one block.
template <class Body>
void on_warps(int warps, int shared_bytes, const Body& body) {
    launch({1, 32 * warps, shared_bytes}, run_body<Body>, &body);
}

// n elements right behind a page that nobody may touch, or right before one.
template <class T>
class Fenced {
  public:
    Fenced(int64_t n, bool fence_behind, T fill = T{}) : count_(n) {
        const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE)), size = static_cast<size_t>(n) * sizeof(T);
        bytes_ = (size + page - 1) / page * page + 2 * page;
        void* memory = mmap(nullptr, bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) throw std::bad_alloc();
        memory_ = static_cast<char*>(memory);
        mprotect(memory_ + page, bytes_ - 2 * page, PROT_READ | PROT_WRITE);
        data_ = reinterpret_cast<T*>(fence_behind ? memory_ + bytes_ - page - size : memory_ + page);
        for (int64_t i = 0; i < n; ++i) data_[i] = fill;
    }
    Fenced(const Fenced&) = delete;
    Fenced& operator=(const Fenced&) = delete;
    ~Fenced() { munmap(memory_, bytes_); }
    T* data() const { return data_; }
    int64_t size() const { return count_; }
    T& operator[](int64_t i) const { return data_[i]; }

  private:
    int64_t count_;
    size_t bytes_;
    char* memory_;
    T* data_;
};

// ---- Rows of any type ----------------------------------------------------------------------------------------------

template <class T>
double put(char* to, double value) {
    const T x = static_cast<T>(value);
    std::memcpy(to, &x, sizeof x);
    return static_cast<double>(x);
}

// Writes a value that the type has, or the nearest; integers are rounded down. Returns what was written.
inline double put(DType type, char* to, double value) {
    const auto bits = [&](uint16_t x) { std::memcpy(to, &x, 2); };
    const auto single = static_cast<float>(value);
    switch (type) {
        case DType::f16:
            bits(emulator::half_bits(single));
            return static_cast<double>(emulator::half_value(emulator::half_bits(single)));
        case DType::bf16:
            bits(emulator::bf16_bits(single));
            return static_cast<double>(emulator::bf16_value(emulator::bf16_bits(single)));
        case DType::f32:
            return put<float>(to, value);
        case DType::f64:
            return put<double>(to, value);
        case DType::i8:
            return put<int8_t>(to, value);
        case DType::u8:
            return put<uint8_t>(to, value);
        case DType::i16:
            return put<int16_t>(to, value);
        case DType::u16:
            return put<uint16_t>(to, value);
        case DType::i32:
            return put<int32_t>(to, value);
        case DType::u32:
            return put<uint32_t>(to, value);
        case DType::i64:
            return put<int64_t>(to, value);
        default:
            return put<uint64_t>(to, value);
    }
}

// The bits of integers below which every value of a type lies: 0 for types of real numbers.
inline int integer_bits(DType type) {
    return type < DType::i8 ? 0
                            : static_cast<int>(8 * element_bytes(type)) -
                                  (type == DType::i8 || type == DType::i16 || type == DType::i32 || type == DType::i64);
}
inline bool is_unsigned(DType type) {
    return type == DType::u8 || type == DType::u16 || type == DType::u32 || type == DType::u64;
}

// Rows laid out with any strides, with what they hold as float64.
struct Table {
    View view;
    Fenced<char> memory;
    std::vector<double> value;  // [row][dim]

    // Strides are of elements; `shift` bytes lie before the first row.
    Table(DType type, int64_t rows, int64_t dim, int64_t row_stride, int64_t col_stride, int64_t shift,
          bool fence_behind)
        : view{nullptr, rows, dim, 0, 0, type, false},
          memory(
              shift + element_bytes(type) * ((rows - 1) * std::abs(row_stride) + (dim - 1) * std::abs(col_stride) + 1),
              fence_behind, 0x7f),  // between the values: what would be missed, NaN or large
          value(static_cast<size_t>(rows * dim)) {
        const int64_t bytes = element_bytes(type);
        view.row_stride = row_stride * bytes;
        view.col_stride = col_stride * bytes;
        view.data = memory.data() + shift + (row_stride < 0 ? -view.row_stride * (rows - 1) : 0) +
                    (col_stride < 0 ? -view.col_stride * (dim - 1) : 0);
    }
    Table(DType type, int64_t rows, int64_t dim) : Table(type, rows, dim, dim, 1, 0, true) {}

    void set(int64_t row, int64_t k, double x) {
        char* to = const_cast<char*>(view.data) + row * view.row_stride + k * view.col_stride;
        value[static_cast<size_t>(row * view.dim + k)] = put(view.dtype, to, x);
    }
    const double* row(int64_t i) const { return &value[static_cast<size_t>(i * view.dim)]; }
};

// What check_exact.cpp has found right.
inline double exact_dot_of(const double* a, const double* b, int64_t n) {
    int64_t limbs[WideSum::kLimbs];
    WideSum sum(limbs);
    for (int64_t k = 0; k < n; ++k) sum.add_product(a[k], b[k]);
    return sum.round();
}

}  // namespace properties

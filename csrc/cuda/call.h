// One call of the backend: memory, what its launches share, rows packed. For backend.cu alone.
#pragma once

#include <algorithm>

#include "cuda/backend.h"
#include "cuda/rows/rows.h"
#include "cuda/tiles/machine.h"

namespace hnscore::gpu {

constexpr int64_t kMostRows = int64_t{1} << 30;  // work.h counts in 32 bits

inline bool is_rounded(GpuPrecision p) { return p == GpuPrecision::bf16 || p == GpuPrecision::fp16; }
inline Operand rounding_of(GpuPrecision p) { return p == GpuPrecision::bf16 ? Operand::bf16 : Operand::half; }

inline DType dtype_of(Operand o) {
    return o == Operand::half ? DType::f16 : o == Operand::bf16 ? DType::bf16 : DType::f32;
}

// Memory of one call, and what several of its launches share.
class Call {
  public:
    explicit Call(const Context& context) : context_(context), guard_(context.device.index) {}

    template <class T>
    T* array(int64_t n) const {
        return static_cast<T*>(context_.allocate(static_cast<size_t>(std::max<int64_t>(n, 1)) * sizeof(T)));
    }
    template <class T>
    T* zeros(int64_t n) const {
        T* memory = array<T>(n);
        zero(memory, static_cast<size_t>(n) * sizeof(T), context_.stream);
        return memory;
    }
    // Room for a sum that float64 cannot round, for each warp of a launch.
    int64_t* wide(int64_t warps) {
        if (warps > wide_warps_) {
            wide_ = array<int64_t>(warps * WideSum::kLimbs);
            wide_warps_ = warps;
        }
        return wide_;
    }
    const Device& device() const { return context_.device; }
    Stream stream() const { return context_.stream; }
    Launch threads(int64_t n, int per_block) const { return {divide_up(n, per_block), per_block, 0, 1, stream()}; }
    // Blocks for kernels whose warps walk over groups of rows.
    int64_t row_blocks(int64_t rows) const {
        return std::min<int64_t>(divide_up(rows, kGroups * kPackThreads / 32), 8 * device().processors);
    }

  private:
    const Context& context_;
    const DeviceGuard guard_;
    int64_t* wide_ = nullptr;
    int64_t wide_warps_ = 0;
};

inline void check_rows(const Input& input) {
    if (input.rows.count > kMostRows)
        throw std::invalid_argument("one side has " + std::to_string(input.rows.count) + " rows, at most " +
                                    std::to_string(kMostRows) + " are possible on a GPU; score the pool in chunks");
}

// Whether the tiles can read the caller's rows where they lie.
inline bool is_direct(const Rows& rows, Operand operand) {
    const View& v = rows.view;
    return rows.pick == nullptr && v.dtype == dtype_of(operand) && v.col_stride == operand_bytes(operand) &&
           v.row_stride >= v.dim * v.col_stride && v.row_stride % 16 == 0 &&
           reinterpret_cast<uintptr_t>(v.data) % 16 == 0;
}

struct Packer {
    Operand operand, rounded;
    bool cosine, decided_by_values, direct;
    int64_t pitch;

    Packer(const Device& d, const Rows& rows, Operand to, bool is_cosine, bool by_values)
        : operand(to == Operand::single ? to : operand_for(d, to)),
          rounded(to),
          cosine(is_cosine),
          decided_by_values(by_values),
          direct(operand == rounded && is_direct(rows, operand)),
          pitch(direct ? rows.view.row_stride : round_up(rows.view.dim * operand_bytes(operand), 128)) {}
    int64_t bytes_a_row() const { return (direct ? 0 : pitch) + static_cast<int64_t>(sizeof(RowFacts)); }

    // Memory for `count` rows.
    PackedRows room(const Call& call, int64_t count) const {
        return {operand, direct ? nullptr : call.array<char>(count * pitch), pitch, call.array<RowFacts>(count)};
    }
    // Packs rows [first, first + count) into `to`; in direct mode the values are the caller's.
    PackedRows pack(Call& call, const Input& input, int64_t first, int64_t count, PackedRows to,
                    float* largest_error) const {
        Packing p{};
        p.rows = input.rows;
        p.first = first;
        p.count = count;
        p.cosine = cosine;
        p.decided_by_values = decided_by_values;
        p.operand = operand;
        p.rounded = rounded;
        p.packed = direct ? nullptr : const_cast<void*>(to.values);
        p.pitch = pitch;
        p.facts = to.facts;
        p.largest_error = largest_error;
        p.report = report_words(call.device().index) + input.side;
        const int64_t blocks = call.row_blocks(count);
        p.wide = call.wide(blocks * kPackThreads / 32);
        if (count > 0) launch({blocks, kPackThreads, 0, 1, call.stream()}, pack_kernel, p);
        if (direct) to.values = input.rows.view.data + first * input.rows.view.row_stride;
        return to;
    }
};

}  // namespace hnscore::gpu

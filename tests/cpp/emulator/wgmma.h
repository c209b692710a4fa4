// wgmma: products of 64 x 256 x 16 that a warpgroup asks for and waits for later.
//
// The products read shared memory, and the accumulators are the tensor core's, from the call to the wait. So a product
// is computed when the first thread waits for it (or at a random time before), and a thread's accumulators hold NaN
// until it has waited for all products and has called pin() on each: the compiler, too, is free to use a register
// before the wait if nothing pins it.
#pragma once

#include "emulator/async.h"
#include "emulator/tensor_core.h"

namespace hnscore::gpu::emulator {

inline Warpgroup& own_warpgroup(const Call& call) {
    require_capability(9, call);
    if (machine.schedule.threads % 128 != 0) machine.fail(call, "the block's last warpgroup is not whole");
    return self().block->warpgroups[static_cast<size_t>(self().index / 128)];
}

inline float& sum_of(Warpgroup& group, int thread, int e) {
    const int lane = thread % 32, row = thread % 128 / 32 * 16 + fragment_row(lane, e);
    return group.sums[static_cast<size_t>(row * Warpgroup::kColumns + e / 4 * 8 + fragment_column(lane, e))];
}

inline uint32_t operand_address(uint64_t descriptor) { return static_cast<uint32_t>(descriptor & 0x3FFF) << 4; }

inline void check_descriptor(const Block& block, uint64_t descriptor, int rows, const Call& call) {
    const auto wrong = [&](const std::string& what) {
        machine.fail(call, "descriptor " + std::to_string(descriptor) + ": " + what);
    };
    if (descriptor >> 62 != 1) wrong("layout must be the 128-byte swizzle, 1 in bits 62 and 63");
    if ((descriptor >> 32 & 0x3FFF) << 4 != 1024) wrong("8 rows must be 1024 bytes, 64 in bits 32 to 45");
    if ((descriptor & 0x3FFFC000C000C000) != 0) wrong("all other bits but 16 to 29 must be 0");
    const uint32_t address = operand_address(descriptor), within = address & 1023;
    if (within >= 128 || within % 32 != 0)
        wrong("the rows must start at a multiple of 1024 plus 0, 32, 64 or 96 bytes, not at " +
              std::to_string(address));
    shared_memory(block, address - within, static_cast<uint32_t>(rows) * 128, call);
}

// 16 elements of each row of an operand: out[row * row_pitch + k * k_pitch].
template <class T>
inline void read_operand(const Block& block, const Product& product, uint64_t descriptor, int rows, float* out,
                         int row_pitch, int k_pitch) {
    const uint32_t address = operand_address(descriptor);
    for (int row = 0; row < rows; ++row)
        for (int half = 0; half < 2; ++half) {
            const auto at = address + static_cast<uint32_t>(row * 128 + half * 16);
            const uint8_t* chunk = block.shared + (swizzled(at) - Machine::kSharedBase);
            if (poisoned(chunk))
                machine.fail(product.call, "reads shared memory that nothing was written to, at " + std::to_string(at));
            uint16_t bits[8];
            std::memcpy(bits, chunk, 16);
            for (int i = 0; i < 8; ++i) out[row * row_pitch + (half * 8 + i) * k_pitch] = element(T{}, bits[i]);
        }
}

template <class T>
inline void compute(const Block& block, Warpgroup& group, const Product& product) {
    static float a[Warpgroup::kRows][kStep], b[kStep][Warpgroup::kColumns];
    read_operand<T>(block, product, product.a, Warpgroup::kRows, a[0], kStep, 1);
    read_operand<T>(block, product, product.b, Warpgroup::kColumns, b[0], 1, Warpgroup::kColumns);
    for (int row = 0; row < Warpgroup::kRows; ++row) {
        float* sums = &group.sums[static_cast<size_t>(row * Warpgroup::kColumns)];
        if (!product.accumulate) std::fill(sums, sums + Warpgroup::kColumns, 0.0f);
        add_products(a[row], b[0], Warpgroup::kColumns, sums, Warpgroup::kColumns);
    }
}

// Computes those before number `end` that all threads have asked for.
inline void compute_products(const Block& block, Warpgroup& group, int64_t end) {
    for (; group.first < end && !group.products.empty() && group.products.front().asked == 128; ++group.first) {
        const Product& product = group.products.front();
        product.bf16 ? compute<Bf16>(block, group, product) : compute<Half>(block, group, product);
        group.products.pop_front();
    }
}

inline void check_accumulators(const float (&d)[128], const Call& call) {
    Thread& thread = self();
    if (!thread.fenced)
        machine.fail(call, "needs wgmma_fence(): first product of the kernel, or since the last wgmma_wait or pin");
    if (thread.accumulators != d && thread.computed < thread.asked)
        machine.fail(call, "other accumulators, while products for the first are under way");
    static const std::vector<uint8_t> poison(sizeof d, 0xFF);
    if (!thread.owns_accumulators && std::memcmp(d, poison.data(), sizeof d) != 0)
        machine.fail(call, "the accumulators changed while they were the tensor core's");
}

inline void ask_for_product(float (&d)[128], uint64_t a, uint64_t b, bool accumulate, bool bf16, const Call& call) {
    Thread& thread = self();
    Block& block = *thread.block;
    Warpgroup& group = own_warpgroup(call);
    check_accumulators(d, call);
    const auto i = static_cast<size_t>(thread.asked - group.first);
    if (i == group.products.size()) {
        check_descriptor(block, a, Warpgroup::kRows, call);
        check_descriptor(block, b, Warpgroup::kColumns, call);
        group.products.push_back({a, b, accumulate, bf16, call, 0});
        for (const BoxCopy& copy : machine.copies)
            if (copy.to == &block && reads(group.products.back(), copy.offset, copy.bytes()))
                machine.fail(call, "reads shared memory that the copy of " + text(copy.call.name, copy.call.site) +
                                       " is still to be written to");
    }
    Product& product = group.products[i];
    if (product.a != a || product.b != b || product.accumulate != accumulate || product.bf16 != bf16)
        machine.fail(call, "other threads of the warpgroup asked for another product, at " +
                               text(product.call.name, product.call.site));
    if (group.sums.empty()) group.sums.resize(size_t{Warpgroup::kRows} * Warpgroup::kColumns);
    if (thread.owns_accumulators || thread.accumulators != d) {
        if (accumulate)
            for (int e = 0; e < 128; ++e) sum_of(group, thread.index, e) = d[e];
        std::memset(d, 0xFF, sizeof d);
        thread.accumulators = d;
        thread.owns_accumulators = false;
    }
    ++thread.asked;
    if (++product.asked == 128) {
        if (machine.early()) compute_products(block, group, thread.asked);
        machine.wake(group.waiting);
    }
}

inline void wait_for_products(size_t left, const Call& call) {
    Thread& thread = self();
    Warpgroup& group = own_warpgroup(call);
    int64_t end = thread.computed;
    for (; thread.groups.size() > left; thread.groups.pop_front()) end = thread.groups.front();
    for (compute_products(*thread.block, group, end); group.first < end; compute_products(*thread.block, group, end)) {
        group.waiting.push_back(&thread);
        machine.wait(call);
    }
    thread.computed = end;
    thread.fenced = false;
}

inline void deliver(float& x) {
    Thread& thread = self();
    if (thread.accumulators == nullptr || &x < thread.accumulators || &x >= thread.accumulators + 128) return;
    if (thread.computed < thread.asked) return;  // the tensor core's still
    Warpgroup& group = thread.block->warpgroups[static_cast<size_t>(thread.index / 128)];
    const auto e = static_cast<int>(&x - thread.accumulators);
    if (std::bit_cast<uint32_t>(x) == 0xFFFFFFFF) x = sum_of(group, thread.index, e);
    thread.owns_accumulators = true;
    thread.fenced = false;
}

}  // namespace hnscore::gpu::emulator

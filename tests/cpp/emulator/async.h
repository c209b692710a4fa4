// Copies that threads start and others wait for: mbarriers, TMA and cp.async.
#pragma once

#include <algorithm>

#include "emulator/machine.h"

namespace hnscore::gpu::emulator {

// ---- mbarriers. The word in shared memory names an entry of Block::barriers, so that a word which was never
// initialised, or was overwritten, is noticed.

constexpr uint64_t kBarrierMark = 0x6261727269657200;

inline void init_barrier(uint64_t* word, int count, const Call& call) {
    Block& block = *self().block;
    const uint32_t offset = address_of(block, word, call);
    if (offset % 8 != 0) machine.fail(call, "a barrier must be 8-byte aligned");
    if (count < 1) machine.fail(call, "a barrier waits for at least 1 arrival, not " + std::to_string(count));
    for (const Barrier& barrier : block.barriers)
        if (barrier.offset == offset) machine.fail(call, "the barrier is initialised already");
    if (block.barriers.empty()) block.barriers.reserve(128);  // they are pointed to
    if (block.barriers.size() == 128) machine.fail(call, "more than 128 barriers in a block");
    const uint64_t mark = kBarrierMark | block.barriers.size();
    std::memcpy(word, &mark, 8);
    block.barriers.push_back({offset, count, count, 0, 0, &self(), false, false, false, {}});
}

inline Barrier& find_barrier(Block& block, uint32_t offset, const Call& call) {
    uint64_t mark;
    std::memcpy(&mark, shared_memory(block, offset, 8, call), 8);
    const uint64_t i = mark & 0xFF;
    if ((mark & ~uint64_t{0xFF}) != kBarrierMark || i >= block.barriers.size() || block.barriers[i].offset != offset)
        machine.fail(call, "no initialised barrier at shared address " + std::to_string(offset) + " of block " +
                               std::to_string(block.index));
    return block.barriers[i];
}

inline Barrier& own_barrier(const uint64_t* word, const Call& call) {
    Block& block = *self().block;
    Barrier& barrier = find_barrier(block, address_of(block, word, call), call);
    if (!barrier.known && barrier.owner != &self())
        machine.fail(call, "another thread initialised the barrier, and nothing synchronised since: needs sync()");
    return barrier;
}

inline Block& block_of_cluster(int rank, const Call& call) {
    if (rank < 0 || rank >= machine.schedule.cluster)
        machine.fail(call, "the cluster has " + std::to_string(machine.schedule.cluster) +
                               " blocks; there is no block " + std::to_string(rank));
    Block& block = machine.cluster[rank];
    if (block.live == 0) machine.fail(call, "block " + std::to_string(block.index) + " of the cluster has ended");
    return block;
}

inline Barrier& cluster_barrier(Block& block, uint32_t offset, const Call& call) {
    Barrier& barrier = find_barrier(block, offset, call);
    if (!barrier.published)
        machine.fail(call, "the barrier of block " + std::to_string(block.index) +
                               " may not be visible here: needs fence_barrier_init() by who initialised it, then "
                               "cluster_sync()");
    return barrier;
}

inline void end_phase_if_complete(Barrier& barrier) {
    if (barrier.missing > 0 || barrier.bytes != 0) return;
    barrier.phase ^= 1;
    barrier.missing = barrier.count;
    machine.wake(barrier.waiting);
}

inline void arrive_at(Barrier& barrier, uint32_t bytes, const Call& call) {
    if (barrier.missing == 0)
        machine.fail(call, "all " + std::to_string(barrier.count) +
                               " arrivals of this phase are there already (the phase waits for " +
                               std::to_string(barrier.bytes) + " bytes)");
    barrier.bytes += bytes;
    --barrier.missing;
    end_phase_if_complete(barrier);
}

inline void wait_for_phase(Barrier& barrier, int parity, const Call& call) {
    Thread& thread = self();
    if (parity != 0 && parity != 1) machine.fail(call, "parity " + std::to_string(parity) + " is neither 0 nor 1");
    thread.barrier = &barrier;
    thread.parity = parity;
    while (barrier.phase == parity) {
        barrier.waiting.push_back(&thread);
        machine.wait(call);
    }
    thread.barrier = nullptr;
}

// ---- TMA: boxes of 64 elements, 128 bytes, in rows that follow one another, swizzled; beyond the matrix zeros.

// The 128-byte swizzle: bits 4 to 6 of the address change places within the line by bits 7 to 9.
constexpr uint32_t swizzled(uint32_t address) { return address ^ (address >> 7 & 7) << 4; }

inline bool overlap(uint32_t a, uint32_t a_bytes, uint32_t b, uint32_t b_bytes) {
    return a < b + b_bytes && b < a + a_bytes;
}

// What a product may read: its rows as descriptors give them, whole lines.
inline bool reads(const Product& product, uint32_t address, uint32_t bytes) {
    const auto start = [](uint64_t descriptor) { return static_cast<uint32_t>((descriptor & 0x3FFF) << 4) & ~1023u; };
    return overlap(start(product.a), Warpgroup::kRows * 128, address, bytes) ||
           overlap(start(product.b), Warpgroup::kColumns * 128, address, bytes);
}

inline void start_box(void* to, const TensorMap& map, uint64_t* barrier, int column, int row, uint32_t ranks,
                      const Call& call) {
    require_capability(9, call);
    Block& mine = *self().block;
    const uint32_t address = address_of(mine, to, call), at = address_of(mine, barrier, call);
    if (address % 128 != 0) machine.fail(call, "the goal must be 128-byte aligned; it is " + std::to_string(address));
    if (ranks == 0 || ranks >> machine.schedule.cluster != 0)
        machine.fail(call, "blocks " + std::to_string(ranks) + " (a bit each) of a cluster of " +
                               std::to_string(machine.schedule.cluster));
    for (int rank = 0; rank < machine.schedule.cluster; ++rank) {
        if ((ranks >> rank & 1) == 0) continue;
        Block& block = block_of_cluster(rank, call);
        const BoxCopy copy{map, column, row, &block, address, at, call};
        shared_memory(block, address, copy.bytes(), call);
        const Barrier& b = &block == &mine ? own_barrier(barrier, call) : cluster_barrier(block, at, call);
        if (!b.fenced) machine.fail(call, "the barrier may not be visible to copies: needs fence_barrier_init()");
        for (const BoxCopy& other : machine.copies)
            if (other.to == &block && overlap(other.offset, other.bytes(), address, copy.bytes()))
                machine.fail(call, "the copy of " + text(other.call.name, other.call.site) +
                                       " to the same shared memory is still on its way");
        for (const Warpgroup& group : block.warpgroups)
            for (const Product& product : group.products)
                if (reads(product, address, copy.bytes()))
                    machine.fail(call, "overwrites what " + text(product.call.name, product.call.site) +
                                           " may still read: no thread has waited for it");
        machine.copies.push_back(copy);
    }
}

inline void complete(const BoxCopy& copy) {
    const TensorMap& map = copy.map;
    Block& block = *copy.to;
    for (int r = 0; r < map.box_rows; ++r) {
        const int64_t row = int64_t{copy.row} + r;
        uint16_t line[64];
        for (int c = 0; c < 64; ++c) line[c] = 0;
        if (row >= 0 && row < map.rows) {
            const int64_t first = copy.column, begin = std::max<int64_t>(first, 0);
            const int64_t end = std::min(first + 64, map.depth);
            if (begin < end)
                std::memcpy(line + (begin - first), map.base + row * map.pitch + begin * 2,
                            static_cast<size_t>(end - begin) * 2);
        }
        for (uint32_t chunk = 0; chunk < 128; chunk += 16) {
            const uint32_t to = swizzled(copy.offset + static_cast<uint32_t>(r) * 128 + chunk);
            std::memcpy(shared_memory(block, to, 16, copy.call), line + chunk / 2, 16);
        }
    }
    Barrier& barrier = find_barrier(block, copy.barrier, copy.call);
    barrier.bytes -= copy.bytes();
    end_phase_if_complete(barrier);
}

// ---- cp.async: 16 bytes a thread. They arrive when the thread waits for them; before, their goal is poisoned.

inline void start_chunk(uint32_t to, const void* from, int bytes, const Call& call) {
    require_capability(8, call);
    if (bytes < 0 || bytes > 16) machine.fail(call, std::to_string(bytes) + " bytes: must be 0 to 16");
    if (to % 16 != 0 || (bytes > 0 && reinterpret_cast<uintptr_t>(from) % 16 != 0))
        machine.fail(call, "both addresses must be 16-byte aligned");
    Thread& thread = self();
    std::memset(shared_memory(*thread.block, to, 16, call), 0xFF, 16);
    thread.chunks.push_back({to, from, bytes});
}

inline void commit_chunks() {
    Thread& thread = self();
    size_t committed = 0;
    for (const size_t n : thread.chunk_groups) committed += n;
    thread.chunk_groups.push_back(thread.chunks.size() - committed);
}

// All but the last `left` groups.
inline void wait_for_chunks(size_t left, const Call& call) {
    Thread& thread = self();
    size_t done = 0;
    for (; thread.chunk_groups.size() > left; thread.chunk_groups.pop_front()) done += thread.chunk_groups.front();
    for (size_t i = 0; i < done; ++i) {
        const ChunkCopy& chunk = thread.chunks[i];
        uint8_t* to = shared_memory(*thread.block, chunk.offset, 16, call);
        std::memset(to, 0, 16);
        if (chunk.bytes > 0) std::memcpy(to, chunk.from, static_cast<size_t>(chunk.bytes));
    }
    thread.chunks.erase(thread.chunks.begin(), thread.chunks.begin() + static_cast<std::ptrdiff_t>(done));
}

}  // namespace hnscore::gpu::emulator

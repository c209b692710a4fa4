// What the pretended GPU consists of: threads, warps, blocks, barriers, and what is on its way. Plain data; machine.h
// and the others say what happens to it.
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "emulator/fiber.h"
#include "emulator/sites.h"

namespace hnscore::gpu::emulator {

struct Thread;
struct Block;

struct Call {  // of a wrapper by a kernel
    const char* name;
    Site site;
};

// Threads that wait until enough of them have come.
struct Gate {
    int arrived = 0;
    std::vector<Thread*> waiting;
};

struct Warp : Gate {
    struct Lane {  // what a thread brings to a call that its warp makes together, and what it takes away
        uint64_t value;
        uint32_t a[4], b[2];
        float c[4];
    };
    Call call;
    unsigned round;  // calls so far: a lane may still read its result while others are at the next call
    Lane lanes[2][32];
};

// mbarrier. A phase ends when all have arrived and all announced bytes have come.
struct Barrier {
    uint32_t offset;  // in shared memory
    int count, missing;
    int64_t bytes;  // announced and not yet here; below 0 where they came before they were announced
    int phase;
    const Thread* owner;  // who initialised it; others of the block know of it after sync(),
    bool known;           // copies and the other block of a cluster after fence_barrier_init() and cluster_sync()
    bool fenced, published;
    std::vector<Thread*> waiting;
};

// A product of 64 x 256 on the tensor cores, which the threads of a warpgroup have all asked for once `asked` is 128.
struct Product {
    uint64_t a, b;  // descriptors
    bool accumulate, bf16;
    Call call;
    int asked;
};

struct Warpgroup {
    static constexpr int kRows = 64, kColumns = 256;
    std::deque<Product> products;  // asked for and not computed
    int64_t first;                 // the number of products.front()
    std::vector<Thread*> waiting;
    std::vector<float> sums;  // [row][column]
};

struct TensorMap {  // of a matrix of 16-bit elements
    const uint8_t* base;
    int64_t rows, pitch, depth;  // pitch in bytes, depth in elements
    int box_rows;                // of a box that one copy brings, 64 elements wide
};

struct BoxCopy {  // TMA, on its way
    TensorMap map;
    int column, row;
    Block* to;
    uint32_t offset, barrier;
    Call call;
    uint32_t bytes() const { return static_cast<uint32_t>(map.box_rows) * 128; }
};

struct ChunkCopy {  // cp.async, on its way
    uint32_t offset;
    const void* from;
    int bytes;
};

struct Thread {
    Fiber fiber;
    int index = 0;
    Block* block = nullptr;
    bool favoured = false, done = true;
    bool idle = false;  // the fiber waits for its next kernel
    Call at{};          // where it waits
    const Barrier* barrier = nullptr;
    int parity = 0;
    uint64_t* hangs = nullptr;  // where `hang`, what it waits for, is noted if it never comes
    uint64_t hang = 0;

    std::vector<ChunkCopy> chunks;
    std::deque<size_t> chunk_groups;  // sizes of the committed groups of `chunks`

    // wgmma: numbers of products are counted from the start of the block.
    float* accumulators = nullptr;
    bool owns_accumulators = true;  // their values are the thread's, not the tensor core's
    bool fenced = false;
    int64_t asked = 0, computed = 0;  // `computed`: those that the thread has waited for
    std::deque<int64_t> groups;       // `asked` at each commit

    void begin(int i, Block* b) {
        index = i;
        block = b;
        done = false;
        barrier = nullptr;
        hangs = nullptr;
        chunks.clear();
        chunk_groups.clear();
        groups.clear();
        accumulators = nullptr;
        owns_accumulators = true;
        fenced = false;
        asked = computed = 0;
    }
};

struct Block {
    int64_t index;
    int rank;  // in the cluster
    int live;  // threads that have not ended
    uint8_t* shared;
    uint32_t shared_bytes;
    Gate sync, groups[16];
    std::vector<Barrier> barriers;
    std::vector<Warp> warps;
    std::vector<Warpgroup> warpgroups;
};

}  // namespace hnscore::gpu::emulator

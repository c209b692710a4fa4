// The tile loop of sm_90a: products by warpgroups, operands by the copy engine, in clusters of two blocks.
//
// A cluster takes 256 rows, 128 a block, and walks over the columns of its item in tiles of 256. One step is 64 of the
// depth: 128 bytes of each row, the width of the swizzle. In each block
//     one thread           brings operands: per step 128 of the 256 columns to both blocks, and where needed its rows
//     two warpgroups       multiply 64 rows x 256 columns each, 128 accumulators a thread, then run the epilogue
// Steps travel through a ring of stages with two barriers each: `full`, awaited by the warps of this block, and
// `empty`, awaited by its producer. The warpgroups are not tied to each other (unless Tuning::apart says so), so that
// one runs its epilogue while the other multiplies, and the ring goes on over tiles and items without a pause.
//
// Up to a depth of 512 the rows stay in shared memory for all tiles of an item and come with the steps of its first
// tile; beyond, they pass through the ring like the columns.
#pragma once

#include "cuda/tiles/work.h"

namespace hnscore::gpu {

constexpr int kWgmmaRows = 128, kWgmmaCols = 256, kWgmmaStep = 64;
constexpr int kSwizzleBytes = 128;  // of a row, a step; rows lie as many bytes apart
constexpr int kRowsBytes = kWgmmaRows * kSwizzleBytes, kColsBytes = kWgmmaCols * kSwizzleBytes;
constexpr int kMaxStages = 8, kMinStages = 2;  // Tuning has no more, and no fewer
constexpr int kWgmmaThreads = 384, kConsumerWarps = 8;
constexpr int kHeadBytes = 3072;  // what a resident depth of 512 leaves of 227 KiB
// Half of a step of both warpgroups at full rate: 2 x 4 products of 128 cycles, of 0.6 ns.
constexpr uint32_t kHalfStep = 300;

// For Apart::ordered.
struct Order {
    uint64_t leads, follows;         // barriers: the first warpgroup is ahead; the second has begun its tile
    uint32_t tiles[kConsumerWarps];  // that a warp has begun, whatever the item: here, since registers are few
};

// Shared memory: the head, rows that stay, stages. Operands begin at multiples of 1024 bytes, as the swizzle demands.
template <class Scratch>
struct WgmmaHead {
    uint64_t full[kMaxStages], empty[kMaxStages];
    Order order;
    Scratch scratch[kConsumerWarps];
};

struct WgmmaMemory {
    int steps;      // of the depth
    bool resident;  // rows stay for an item
    int stages;     // as many as there is room for

    HNSCORE_BOTH WgmmaMemory(int64_t depth, int bytes, const Tuning& tuning)
        : steps(static_cast<int>((depth + kWgmmaStep - 1) / kWgmmaStep)), resident(steps <= tuning.resident_steps) {
        const int fit = (bytes - cols_at(0)) / stage_bytes();
        stages = fit < tuning.most_stages ? fit : tuning.most_stages;
    }
    // How far the first warpgroup is to be ahead, in steps: the ring allows no more than all of its stages.
    HNSCORE_BOTH int lead() const { return stages < (steps + 1) / 2 ? stages : (steps + 1) / 2; }
    HNSCORE_BOTH int stage_bytes() const { return kColsBytes + (resident ? 0 : kRowsBytes); }
    HNSCORE_BOTH int cols_at(int stage) const {
        return kHeadBytes + (resident ? steps * kRowsBytes : 0) + stage * stage_bytes();
    }
    HNSCORE_BOTH int rows_at(int stage, int step) const {
        return resident ? kHeadBytes + step * kRowsBytes : cols_at(stage) + kColsBytes;
    }
};

inline int wgmma_shared_bytes(int64_t depth, int limit, const Tuning& tuning) {
    const WgmmaMemory memory(depth, limit, tuning);
    return memory.stages < kMinStages ? 0 : memory.cols_at(memory.stages);
}

constexpr Shape kWgmmaShape{2 * kWgmmaRows, kWgmmaCols, kWgmmaThreads, 2, wgmma_shared_bytes};

// A place in the ring: the stage, and the parity of how often it has been used before.
struct Ring {
    int stages, stage = 0, parity = 0;
    HNSCORE_DEVICE explicit Ring(int n) : stages(n) {}
    HNSCORE_DEVICE void next() {
        if (++stage < stages) return;
        stage = 0;
        parity ^= 1;
    }
};

// Describes 128-byte rows in shared memory, swizzled in groups of 8 rows: 16-byte units of the address, of the distance
// of groups, and the kind of swizzle. 16 values further along the depth the address is 2 units higher.
HNSCORE_DEVICE uint64_t matrix_descriptor(uint32_t address) {
    return static_cast<uint64_t>((address & 0x3ffff) >> 4) | uint64_t{1} << 16 |
           uint64_t{8 * kSwizzleBytes >> 4} << 32 | uint64_t{1} << 62;
}

// Brings all steps of all items of this cluster, in the order in which they are used.
template <int kChunk, class Head>
HNSCORE_DEVICE void wgmma_bring(const TensorMap& rows, const TensorMap& columns, const Problem& p,
                                const WgmmaMemory& memory, Head& head) {
    constexpr int half = kWgmmaCols / 2;
    const int rank = cluster_rank();
    Ring ring(memory.stages), before = ring;  // the step to bring, and the same step of the tile before
    bool any_before = false;
    for (int i = block() / 2; i < item_count(p); i += blocks() / 2) {
        const Item item = item_at(p, i, kChunk);
        const int row = (item.row_block * 2 + rank) * kWgmmaRows;
        for (int col = item.first_col; col < item.end_col; col += kWgmmaCols) {
            const bool brings_rows = !memory.resident || col == item.first_col;
            const Ring first_step = ring;
#pragma unroll 1  // four steps at once need more registers than this warp has
            for (int step = 0; step < memory.steps; ++step, ring.next(), before.next()) {
                // All warps of both blocks have multiplied what the stage held: each producer writes to both blocks.
                const int tile = col / kWgmmaCols;
                barrier_wait(&head.empty[ring.stage], ring.parity ^ 1,
                             {Awaited::free_stage, tile, step, ring.stage, p.hangs});
                // The last tile that used these rows has; in a ring shorter than a tile the wait above says so too.
                if (memory.resident && brings_rows && any_before && memory.stages > memory.steps)
                    barrier_wait(&head.empty[before.stage], before.parity,
                                 {Awaited::free_rows, tile, step, before.stage, p.hangs});
                uint64_t* full = &head.full[ring.stage];
                // Announces the other producer's half too, which may come before: then the phase waits for this call.
                barrier_expect(full, kColsBytes + (brings_rows ? kRowsBytes : 0));
                if (brings_rows)
                    tma_load(shared() + memory.rows_at(ring.stage, step), &rows, full, step * kWgmmaStep, row);
                tma_load_multicast(shared() + memory.cols_at(ring.stage) + rank * half * kSwizzleBytes, &columns, full,
                                   step * kWgmmaStep, col + rank * half, 0b11);
            }
            before = first_step;
            any_before = true;
        }
    }
}

// Before a tile. Each phase of one barrier comes after the same phase of the other, so that no parity is ambiguous.
HNSCORE_DEVICE_CALL void keep_order(Order& order, int warp, int tile, uint64_t* hangs) {
    const int odd = static_cast<int>(order.tiles[warp] & 1);
    if (warp < kConsumerWarps / 2)
        barrier_wait(&order.follows, odd ^ 1, {Awaited::follower, tile, 0, 0, hangs});
    else
        barrier_wait(&order.leads, odd, {Awaited::leader, tile, 0, 0, hangs});
    sync_warp();  // else a lane that still waits could miss a phase
    if (lane() != 0) return;
    ++order.tiles[warp];
    if (warp >= kConsumerWarps / 2) barrier_arrive(&order.follows);
}

template <class T, class Epilogue, int kChunk, class Head>
HNSCORE_DEVICE void wgmma_multiply(const Problem& p, const WgmmaMemory& memory, Head& head) {
    const int warp = thread() / 32 - 4, group = warp / 4;
    const uint32_t base = shared_address(shared());
    // Every warp speaks for itself, to both producers: the end of its products is no end of another warp's.
    const auto release = [&](int stage) {
        if (lane() < 2) barrier_arrive_remote(&head.empty[stage], lane());
    };
    const int lead = p.tuning.apart == Apart::ordered && group == 0 ? memory.lead() : 0;  // 0: in no step
    Ring ring(memory.stages);
    if (p.tuning.apart == Apart::lead && group == 1) sleep(memory.steps * kHalfStep);
    for (int i = block() / 2; i < item_count(p); i += blocks() / 2) {
        const Item item = item_at(p, i, kChunk);
        const int row = (item.row_block * 2 + cluster_rank()) * kWgmmaRows + warp * 16;
        Epilogue epilogue(p, item.part, row, head.scratch[warp]);
        for (int col = item.first_col; col < item.end_col; col += kWgmmaCols) {
            float acc[1][kWgmmaCols / 8][4];
            auto& products = reinterpret_cast<float (&)[128]>(acc);
            int previous = 0;
            const int tile = col / kWgmmaCols;
            if (p.tuning.apart == Apart::ordered) keep_order(head.order, warp, tile, p.hangs);
#pragma unroll 1
            for (int step = 0; step < memory.steps; ++step, ring.next()) {
                // The operands of this step have come; rows that stay came with a step of the first tile.
                barrier_wait(&head.full[ring.stage], ring.parity, {Awaited::operands, tile, step, ring.stage, p.hangs});
                const uint64_t a = matrix_descriptor(base + memory.rows_at(ring.stage, step) + group * kRowsBytes / 2);
                const uint64_t b = matrix_descriptor(base + memory.cols_at(ring.stage));
                // The epilogue of the tile before has read the accumulators that are now written anew.
                wgmma_fence();
#pragma unroll
                for (int k = 0; k < 4; ++k) wgmma<T>(products, a + 2 * k, b + 2 * k, step > 0 || k > 0);
                wgmma_commit();
                // The products of the step before are done, those of this step keep the tensor cores busy meanwhile.
                if (step > 0) {
                    wgmma_wait<1>();
                    release(previous);
                }
                previous = ring.stage;
                if (step + 1 == lead && lane() == 0) barrier_arrive(&head.order.leads);
            }
            // The epilogue reads the accumulators.
            wgmma_wait<0>();
#pragma unroll
            for (int k = 0; k < 128; ++k) pin(products[k]);
            release(previous);
            epilogue.tile(acc, col);
            if (ends_chunk(item, col + kWgmmaCols, kChunk)) epilogue.flush(col / kChunk);
        }
    }
}

template <class T, template <int, int> class E, int kChunk = kChunkColumns>
HNSCORE_KERNEL_CLUSTER2(kWgmmaThreads)
wgmma_kernel(const HNSCORE_GRID_CONSTANT TensorMap rows, const HNSCORE_GRID_CONSTANT TensorMap columns,
             const HNSCORE_GRID_CONSTANT Problem p) {
    using Epilogue = E<1, kWgmmaCols / 8>;
    using Head = WgmmaHead<typename Epilogue::Scratch>;
    static_assert(sizeof(Head) <= kHeadBytes && kChunk % kWgmmaCols == 0);
    if (!is_chosen(p)) return;
    Head& head = *reinterpret_cast<Head*>(shared());
    const WgmmaMemory memory(p.depth, shared_size(), p.tuning);
    if (thread() == 0) {
        prefetch(&rows);
        prefetch(&columns);
        for (int i = 0; i < memory.stages; ++i) {
            barrier_init(&head.full[i], 1);
            barrier_init(&head.empty[i], 2 * kConsumerWarps);
        }
        barrier_init(&head.order.leads, kConsumerWarps / 2);
        barrier_init(&head.order.follows, kConsumerWarps / 2);
        for (uint32_t& tiles : head.order.tiles) tiles = 0;
        fence_barrier_init();
    }
    // Nobody touches a barrier, of either block, before it is made.
    cluster_sync();
    if (thread() < 128) {
        registers_down<40>();
        if (thread() == 0) wgmma_bring<kChunk>(rows, columns, p, memory, head);
        sync_warp();  // a warp arrives at the cluster's barrier as a whole
    } else {
        registers_up<232>();
        wgmma_multiply<T, Epilogue, kChunk>(p, memory, head);
    }
    // The other block may still write to this one's memory, or arrive at its barriers.
    cluster_sync();
}

}  // namespace hnscore::gpu

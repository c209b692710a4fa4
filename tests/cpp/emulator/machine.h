// The pretended GPU: blocks, their shared memory and threads, and who runs next.
//
// Threads are fibers. One runs until it must wait for others; then a random one of those that can run goes on. Blocks
// of a cluster run together, clusters one after another in random order. What hardware does on its own (copies into
// shared memory, tensor cores) happens at random times or as late as the program's waits allow. Each cluster draws how
// late, and which threads run ahead of the others. The same seed gives the same schedule.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <numeric>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "cuda/device/wait.h"
#include "emulator/state.h"

namespace hnscore::gpu::emulator {

// A kernel that broke a rule of the hardware, or that hangs.
struct Error : std::runtime_error {
    using std::runtime_error::runtime_error;
};

inline void complete(const BoxCopy& copy);  // in async.h

struct Schedule {
    int64_t blocks;
    int threads, shared_bytes, cluster;
};

class Machine {
  public:
    // Addresses in shared memory start here, as on a device, so that 0 is none.
    static constexpr uint32_t kSharedBase = 1024;

    int major = 9, minor = 0, processors = 4;
    bool idle = false;  // launches do nothing: for what only the host side does

    Thread* current = nullptr;
    Schedule schedule{};
    Block cluster[2];
    std::vector<BoxCopy> copies;

    void seed(unsigned s) { state_ = s; }

    uint64_t random(uint64_t n) {  // below n < 2^32: splitmix64, scaled since a division is slow
        uint64_t z = state_ += 0x9E3779B97F4A7C15;
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
        z = (z ^ z >> 27) * 0x94D049BB133111EB;
        return ((z ^ z >> 31) >> 32) * n >> 32;
    }

    // True where the tensor cores or a copy should act now, although nothing waits for it.
    bool early() { return early_ > 0 && random(8) < early_; }

    void run(const Schedule& s, void (*kernel)(const void*), const void* arguments) {
        if (idle) return;
        const std::lock_guard<std::mutex> lock(busy_);
        prepare(s);
        kernel_ = kernel;
        arguments_ = arguments;
        std::vector<int64_t> order(static_cast<size_t>(s.blocks / s.cluster));
        std::iota(order.begin(), order.end(), int64_t{0});
        for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random(i)]);
        try {
            for (const int64_t c : order) run_cluster(c);
        } catch (...) {
            for (const auto& thread : threads_) thread->idle = false;  // what they were at is forgotten
            current = nullptr;
            throw;
        }
        current = nullptr;
    }

    // The current thread waits until someone wakes it.
    void wait(const Call& call) {
        current->at = call;
        Fiber::leave();
    }

    void wake(std::vector<Thread*>& waiting) {
        for (Thread* thread : waiting) ready_[thread->favoured].push_back(thread);
        waiting.clear();
    }

    void arrive(Gate& gate, int expected, const Call& call) {
        if (++gate.arrived < expected) {
            gate.waiting.push_back(current);
            return wait(call);
        }
        gate.arrived = 0;
        wake(gate.waiting);
    }

    // Threads that ended count as arrived.
    void sync_block(const Call& call) {
        Gate& gate = current->block->sync;
        ++gate.arrived;
        if (release_block(*current->block)) return;
        gate.waiting.push_back(current);
        wait(call);
    }

    void sync_cluster(const Call& call) {
        ++cluster_gate_.arrived;
        if (release_cluster()) return;
        cluster_gate_.waiting.push_back(current);
        wait(call);
    }

    [[noreturn]] void fail(const Call& call, const std::string& what) const {
        std::string where;
        if (current != nullptr)
            where =
                "block " + std::to_string(current->block->index) + ", thread " + std::to_string(current->index) + ", ";
        throw Error(where + text(call.name, call.site) + ": " + what);
    }

  private:
    void prepare(const Schedule& s) {
        schedule = s;
        while (threads_.size() < static_cast<size_t>(s.threads * s.cluster))
            threads_.push_back(std::make_unique<Thread>());
        const auto bytes = static_cast<size_t>(s.shared_bytes);
        if (shared_bytes_ != bytes || shared_[0] == nullptr) {
            for (auto& memory : shared_) {  // exactly as large as asked, so that sanitizers see what lies beyond
                memory.reset();
                memory.reset(static_cast<uint8_t*>(std::aligned_alloc(1024, (bytes + 1024) / 1024 * 1024)));
                if (memory == nullptr) throw std::bad_alloc();
            }
            shared_bytes_ = bytes;
        }
        for (int rank = 0; rank < s.cluster; ++rank) {
            Block& block = cluster[rank];
            block.rank = rank;
            block.shared = shared_[rank].get();
            block.shared_bytes = static_cast<uint32_t>(bytes);
            block.warps.resize(static_cast<size_t>(s.threads + 31) / 32);
            block.warpgroups.resize(static_cast<size_t>(s.threads) / 128);
        }
    }

    void begin(Block& block, int64_t index) {
        block.index = index;
        block.live = schedule.threads;
        if (block.shared_bytes > 0) std::memset(block.shared, 0xFF, block.shared_bytes);  // NaN
        block.barriers.clear();
        clear(block.sync);
        for (Gate& gate : block.groups) clear(gate);
        for (Warp& warp : block.warps) {
            clear(warp);
            warp.round = 0;
        }
        for (Warpgroup& group : block.warpgroups) {
            group.products.clear();
            group.first = 0;
            group.waiting.clear();
        }
        const int first = block.rank * schedule.threads;
        for (int i = 0; i < schedule.threads; ++i) {
            Thread* thread = threads_[static_cast<size_t>(first + i)].get();
            thread->begin(i, &block);
            if (!thread->idle) {
                thread->fiber.start(&body);
                thread->idle = true;
            }
            thread->favoured = ((first + i) / unit_ == favourite_) != all_but_;
            ready_[thread->favoured].push_back(thread);
        }
    }

    void run_cluster(int64_t index) {
        const int units[] = {1, 32, 128, schedule.threads}, all = schedule.threads * schedule.cluster;
        unit_ = units[random(4)];
        favourite_ = static_cast<int>(random(static_cast<uint64_t>((all + unit_ - 1) / unit_)));
        all_but_ = random(2) != 0;
        early_ = random(2) * (1 + random(4));
        copies.clear();
        clear(cluster_gate_);
        ready_[0].clear();
        ready_[1].clear();
        error_ = nullptr;
        for (int rank = 0; rank < schedule.cluster; ++rank) begin(cluster[rank], index * schedule.cluster + rank);
        for (int live = schedule.threads * schedule.cluster; live > 0;) {
            const bool stuck = ready_[0].empty() && ready_[1].empty();
            if (!copies.empty() && (stuck || early())) {
                const size_t i = random(copies.size());
                const BoxCopy copy = copies[i];
                copies[i] = copies.back();
                copies.pop_back();
                current = nullptr;
                complete(copy);
            } else if (stuck) {
                report_deadlock();
            } else {
                current = next();
                current->fiber.resume();
                if (error_ != nullptr) std::rethrow_exception(std::exchange(error_, nullptr));
                if (current->done) {
                    --live;
                    ended(*current);
                }
            }
        }
    }

    Thread* next() {
        auto& list = ready_[!ready_[1].empty() && (ready_[0].empty() || random(64) > 0)];
        std::swap(list[random(list.size())], list.back());
        Thread* thread = list.back();
        list.pop_back();
        return thread;
    }

    static void body();

    void ended(const Thread& thread) {
        Block& block = *thread.block;
        if (thread.computed < thread.asked)
            throw Error("block " + std::to_string(block.index) + ", thread " + std::to_string(thread.index) +
                        " ended without waiting for its last wgmma");
        if (--block.live > 0) {
            if (block.sync.arrived > 0) release_block(block);
        } else {
            for (const BoxCopy& copy : copies)
                if (copy.to == &block)
                    fail(copy.call, "block " + std::to_string(block.index) +
                                        " ended while this copy was on its way into its shared memory");
        }
        if (cluster_gate_.arrived > 0) release_cluster();
    }

    bool release_block(Block& block) {
        if (block.sync.arrived < block.live) return false;
        for (Barrier& barrier : block.barriers) barrier.known = true;
        block.sync.arrived = 0;
        wake(block.sync.waiting);
        return true;
    }

    bool release_cluster() {
        int live = 0;
        for (int rank = 0; rank < schedule.cluster; ++rank) live += cluster[rank].live;
        if (cluster_gate_.arrived < live) return false;
        for (int rank = 0; rank < schedule.cluster; ++rank)
            for (Barrier& barrier : cluster[rank].barriers) {
                barrier.known = true;
                barrier.published |= barrier.fenced;
            }
        cluster_gate_.arrived = 0;
        wake(cluster_gate_.waiting);
        return true;
    }

    [[noreturn]] void report_deadlock() const {
        std::map<std::string, int> where;
        uint64_t* where_noted = nullptr;
        for (int i = 0; i < schedule.threads * schedule.cluster; ++i) {
            const Thread& thread = *threads_[static_cast<size_t>(i)];
            std::string line = "block " + std::to_string(thread.block->index) + ": ";
            if (!thread.done && thread.hangs && where_noted != thread.hangs)
                std::memset(where_noted = thread.hangs, 0, kHangs * sizeof(uint64_t));
            if (!thread.done && thread.hangs)
                thread.hangs[hang_place(static_cast<int>(thread.block->index), thread.index / 32)] = thread.hang;
            if (thread.done) {
                line += "ended";
            } else {
                line += text(thread.at.name, thread.at.site);
                if (const Barrier* b = thread.barrier)
                    line += " (parity " + std::to_string(thread.parity) + " of the barrier at " +
                            std::to_string(b->offset) + ", which is in phase " + std::to_string(b->phase) +
                            " and lacks " + std::to_string(b->missing) + " arrivals and " + std::to_string(b->bytes) +
                            " bytes)";
            }
            ++where[line];
        }
        std::string all = "deadlock: no thread can go on";
        for (const auto& [line, count] : where) all += "\n  " + std::to_string(count) + " threads of " + line;
        throw Error(all);
    }

    static void clear(Gate& gate) {
        gate.arrived = 0;
        gate.waiting.clear();
    }

    struct Free {
        void operator()(void* p) const { std::free(p); }
    };

    std::mutex busy_;
    uint64_t state_ = 0;
    int unit_ = 1, favourite_ = 0;  // so many threads, the how manieth: they run ahead of the others,
    bool all_but_ = false;          // or behind them
    uint64_t early_ = 0;            // of 8 times
    void (*kernel_)(const void*) = nullptr;
    const void* arguments_ = nullptr;
    std::vector<std::unique_ptr<Thread>> threads_;
    std::unique_ptr<uint8_t, Free> shared_[2];
    size_t shared_bytes_ = 0;
    std::vector<Thread*> ready_[2];  // [favoured]
    Gate cluster_gate_;
    std::exception_ptr error_;
};

inline Machine machine;

inline void Machine::body() {
    Fiber::entered();
    for (;;) {
        try {
            machine.kernel_(machine.arguments_);
        } catch (...) {
            machine.error_ = std::current_exception();
        }
        machine.current->done = true;
        Fiber::leave();
    }
}

inline Thread& self() { return *machine.current; }

// Shared memory of a block by its address there. Throws where it lies outside.
inline uint8_t* shared_memory(const Block& block, uint32_t address, uint32_t bytes, const Call& call) {
    const uint32_t offset = address - Machine::kSharedBase;
    if (address < Machine::kSharedBase || offset > block.shared_bytes || bytes > block.shared_bytes - offset)
        machine.fail(call, "shared addresses " + std::to_string(address) + " to " + std::to_string(address + bytes) +
                               " are outside the block's " + std::to_string(block.shared_bytes) + " bytes from " +
                               std::to_string(Machine::kSharedBase));
    return block.shared + offset;
}

inline uint32_t address_of(const Block& block, const void* p, const Call& call) {
    const auto* byte = static_cast<const uint8_t*>(p);
    if (byte < block.shared || byte >= block.shared + block.shared_bytes)
        machine.fail(call, "the pointer does not point into the block's shared memory");
    return static_cast<uint32_t>(byte - block.shared) + Machine::kSharedBase;
}

// Fresh shared memory, and the goal of a copy that has not been waited for, is all ones: NaN, but not one that any
// rounding makes, so that 8 of them in a row are no embeddings.
inline bool poisoned(const uint8_t* chunk) {
    uint64_t words[2];
    std::memcpy(words, chunk, 16);
    return (words[0] & words[1]) == ~uint64_t{0};
}

inline void require_capability(int major, const Call& call) {
    if (machine.major < major)
        machine.fail(call, "needs compute capability " + std::to_string(major) + ".0; the device has " +
                               std::to_string(machine.major) + "." + std::to_string(machine.minor));
}

// A call that all 32 threads of a warp make together: the last one to come runs work(lanes) for all.
template <class Work>
inline Warp::Lane& together(const Call& call, const Warp::Lane& mine, const Work& work) {
    Thread& thread = self();
    if (machine.schedule.threads % 32 != 0) machine.fail(call, "the block's last warp is not whole");
    Warp& warp = thread.block->warps[static_cast<size_t>(thread.index / 32)];
    auto& lanes = warp.lanes[warp.round & 1];
    if (warp.arrived == 0) {
        warp.call = call;
    } else if (warp.call.name != call.name || warp.call.site.line() != call.site.line()) {
        machine.fail(call, "other threads of the warp are at " + text(warp.call.name, warp.call.site));
    }
    Warp::Lane& lane = lanes[thread.index % 32];
    lane = mine;
    if (warp.arrived == 31) {
        work(lanes);
        ++warp.round;
    }
    machine.arrive(warp, 32, call);
    return lane;
}

}  // namespace hnscore::gpu::emulator

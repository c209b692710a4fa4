// Threads for one call. They are made for the call and joined at its end: about 20 microseconds a thread, and in return
// nothing is left over that a fork could lose or that competes with another library's pool between calls.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>

namespace hnscore {

// Called by the thread that made the call, about 20 times a second, with the share done; an exception ends the call.
using Poll = std::function<void(double)>;

class Team {
  public:
    Team(int n_threads, int64_t units, Poll poll);

    // Runs body(worker) for worker = 0 .. size() - 1, worker 0 on the calling thread, each with the default
    // floating-point environment (another library may have switched subnormals off). Rethrows the first exception.
    void run(const std::function<void(int)>& body);

    // For the body: `units` of work done; false where the worker must return.
    bool advance(int worker, int64_t units);
    int size() const { return size_; }

  private:
    const int size_;
    const int64_t units_;
    const Poll poll_;
    std::atomic<int64_t> done_{0};
    std::atomic<bool> stop_{false};
    std::chrono::steady_clock::time_point last_poll_;
};

// The processors that this process may use, but no more than OMP_NUM_THREADS, which people set for all their numeric
// libraries at once.
int default_threads();

}  // namespace hnscore

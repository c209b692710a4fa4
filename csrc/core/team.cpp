#include "core/team.h"

#include <sched.h>

#include <algorithm>
#include <cfenv>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace hnscore {
namespace {

constexpr std::chrono::milliseconds kPollEvery(50);

struct DefaultFloatEnvironment {
    DefaultFloatEnvironment() {
        std::fegetenv(&saved);
        std::fesetenv(FE_DFL_ENV);
    }
    ~DefaultFloatEnvironment() { std::fesetenv(&saved); }
    std::fenv_t saved;
};

}  // namespace

Team::Team(int n_threads, int64_t units, Poll poll)
    : size_(n_threads),
      units_(units > 0 ? units : 1),
      poll_(std::move(poll)),
      last_poll_(std::chrono::steady_clock::now()) {}

void Team::run(const std::function<void(int)>& body) {
    std::exception_ptr first;
    std::mutex guard;
    std::condition_variable one_done;
    int running = 0;
    const auto guarded = [&](const auto& action) {
        try {
            action();
        } catch (...) {
            const std::lock_guard<std::mutex> lock(guard);
            if (!first) first = std::current_exception();
            stop_ = true;
        }
    };
    const auto work = [&](int worker) {
        guarded([&] {
            const DefaultFloatEnvironment environment;
            body(worker);
        });
        const std::lock_guard<std::mutex> lock(guard);
        --running;
        one_done.notify_one();
    };
    std::vector<std::thread> threads;
    threads.reserve(static_cast<size_t>(size_ - 1));
    running = size_;
    for (int worker = 1; worker < size_; ++worker) {
        try {
            threads.emplace_back(work, worker);
        } catch (const std::system_error&) {  // no more threads to be had: the others take the work
            const std::lock_guard<std::mutex> lock(guard);
            running -= size_ - worker;
            break;
        }
    }
    work(0);
    // Its own work done, the calling thread still looks for interrupts while the others finish theirs.
    for (std::unique_lock<std::mutex> lock(guard); running > 0;) {
        one_done.wait_for(lock, kPollEvery);
        lock.unlock();
        guarded([&] { advance(0, 0); });
        lock.lock();
    }
    for (std::thread& t : threads) t.join();
    if (first) std::rethrow_exception(first);
}

bool Team::advance(int worker, int64_t units) {
    const int64_t done = done_.fetch_add(units, std::memory_order_relaxed) + units;
    if (worker == 0 && poll_) {
        const auto now = std::chrono::steady_clock::now();
        if (now - last_poll_ > kPollEvery) {
            last_poll_ = now;
            poll_(static_cast<double>(done) / static_cast<double>(units_));
        }
    }
    return !stop_.load(std::memory_order_relaxed);
}

int available_processors() {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
    const unsigned n = std::thread::hardware_concurrency();
    return n > 0 ? static_cast<int>(n) : 1;
}

int default_threads() {
    const char* limit = std::getenv("OMP_NUM_THREADS");
    const int asked = limit != nullptr ? std::atoi(limit) : 0;
    return asked > 0 ? std::min(asked, available_processors()) : available_processors();
}

}  // namespace hnscore

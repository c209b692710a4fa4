#include "core/team.h"

#include <sched.h>

#include <cfenv>
#include <exception>
#include <system_error>
#include <thread>
#include <vector>

namespace hnscore {
namespace {

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
    const auto work = [&](int worker) {
        try {
            const DefaultFloatEnvironment environment;
            body(worker);
        } catch (...) {
            const std::lock_guard<std::mutex> lock(guard);
            if (!first) first = std::current_exception();
            stop_ = true;
        }
    };
    std::vector<std::thread> threads;
    threads.reserve(static_cast<size_t>(size_ - 1));
    for (int worker = 1; worker < size_; ++worker) {
        try {
            threads.emplace_back(work, worker);
        } catch (const std::system_error&) {
            break;  // no more threads to be had: the others take the work
        }
    }
    work(0);
    for (std::thread& t : threads) t.join();
    if (first) std::rethrow_exception(first);
    if (stopped_by_poll_) throw Stopped{};
}

bool Team::advance(int worker, int64_t units) {
    const int64_t done = done_.fetch_add(units, std::memory_order_relaxed) + units;
    if (worker == 0 && poll_) {
        const auto now = std::chrono::steady_clock::now();
        if (now - last_poll_ > std::chrono::milliseconds(50)) {
            last_poll_ = now;
            if (!poll_(static_cast<double>(done) / static_cast<double>(units_))) {
                stopped_by_poll_ = true;
                stop_ = true;
            }
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

}  // namespace hnscore

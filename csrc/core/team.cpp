#include "core/team.h"

#include <algorithm>
#include <cfenv>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "core/system.h"

namespace hnscore {
namespace {

constexpr std::chrono::milliseconds kPollEvery(50);

// A thread's first exception takes memory for the thread, and the C library ends the process where there is none. So
// that memory is taken by every thread before the work begins, from what was kept free for it while they were made.
class ThreadMemory {
  public:
    explicit ThreadMemory(int n_threads)
        : bytes_(static_cast<size_t>(n_threads) * kBytes), kept_(n_threads > 0 ? system::reserve(bytes_) : nullptr) {}
    ~ThreadMemory() { give(); }
    bool kept() const { return kept_ != nullptr; }
    void give() {
        if (kept()) system::release(kept_, bytes_);
        kept_ = nullptr;
    }

    // For the thread that makes the others, when all are made.
    void begin(int n_threads) {
        give();
        left_ = n_threads;
        begun_ = true;
        begun_.notify_all();
        wait_for_all();
    }
    // The first step of each of them.
    void take() {
        begun_.wait(false);
        [[maybe_unused]] const volatile int taken = std::uncaught_exceptions();
        if (--left_ == 0) left_.notify_all();
        wait_for_all();
    }

  private:
    static constexpr size_t kBytes = 1 << 16;

    void wait_for_all() {
        for (int left = left_; left > 0; left = left_) left_.wait(left);
    }

    const size_t bytes_;
    void* kept_;
    std::atomic<bool> begun_{false};
    std::atomic<int> left_{0};
};

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
    ThreadMemory memory(size_ - 1);
    running = 1;
    try {
        threads.reserve(static_cast<size_t>(size_ - 1));
        for (int worker = 1; worker < size_ && memory.kept(); ++worker) {
            threads.emplace_back([&work, &memory, worker] {
                memory.take();
                work(worker);
            });
            ++running;
        }
    } catch (const std::exception&) {  // no more threads to be had: the others take the work
    }
    memory.begin(static_cast<int>(threads.size()));
    work(0);
    // Its own work done, the calling thread still looks for interrupts while the others finish theirs.
    {
        std::unique_lock<std::mutex> lock(guard);
        while (running > 0) {
            one_done.wait_for(lock, kPollEvery);
            lock.unlock();
            guarded([&] { advance(0, 0); });
            lock.lock();
        }
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

int default_threads() {
    const char* limit = std::getenv("OMP_NUM_THREADS");
    const int asked = limit != nullptr ? std::atoi(limit) : 0;
    const int available = system::available_processors();
    return asked > 0 ? std::min(asked, available) : available;
}

}  // namespace hnscore

#include "parallel.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#ifndef _WIN32
#include <unistd.h>
#endif
#if defined(__SSE__)
#include <xmmintrin.h>
#endif

namespace fewview {
namespace {

int requested_threads = 0;  // 0: as many as the machine has

// Takes and gives zero for numbers below 1e-38, for as long as it lives: gradients and moments that fade away pass
// through them, and some processors take a hundred cycles over each. Every thread does so, whichever its number.
class FlushDenormals {
  public:
#if defined(__SSE__)
    FlushDenormals() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040); }  // flush to zero, denormals are zero
    ~FlushDenormals() { _mm_setcsr(before_); }
#elif defined(__aarch64__) && defined(__GNUC__)
    FlushDenormals() {
        __asm__ volatile("mrs %0, fpcr" : "=r"(before_));
        __asm__ volatile("msr fpcr, %0" : : "r"(before_ | (1ull << 24)));  // flush to zero
    }
    ~FlushDenormals() { __asm__ volatile("msr fpcr, %0" : : "r"(before_)); }
#endif
    FlushDenormals(const FlushDenormals &) = delete;
    FlushDenormals &operator=(const FlushDenormals &) = delete;

  private:
#if defined(__SSE__)
    unsigned before_;
#elif defined(__aarch64__) && defined(__GNUC__)
    unsigned long long before_;
#endif
};

// Workers spin for a moment after each job, because a training step is a row of short jobs, then sleep.
class Pool {
  public:
    explicit Pool(int workers) {
        for (int i = 0; i < workers; i++) threads_.emplace_back([this] { serve(); });
    }

    ~Pool() {
        {
            std::lock_guard<std::mutex> lock(mutex_);
            stopping_ = true;
            generation_.fetch_add(1);
        }
        wake_.notify_all();
        for (auto &t : threads_) t.join();
    }

    void run(int count, const std::function<void(int)> &work) {
        std::lock_guard<std::mutex> one_job_at_a_time(job_mutex_);
        work_ = &work;
        count_ = count;
        next_.store(0, std::memory_order_relaxed);
        busy_.store((int)threads_.size(), std::memory_order_relaxed);
        {
            std::lock_guard<std::mutex> lock(mutex_);
            generation_.fetch_add(1, std::memory_order_release);
        }
        wake_.notify_all();
        take_items();
        while (busy_.load(std::memory_order_acquire) != 0) std::this_thread::yield();
    }

  private:
    void take_items() {
        for (int i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < count_;) (*work_)(i);
    }

    void serve() {
        const FlushDenormals flush;
        unsigned seen = 0;
        for (;;) {
            auto until = std::chrono::steady_clock::now() + std::chrono::microseconds(200);
            while (generation_.load(std::memory_order_acquire) == seen && std::chrono::steady_clock::now() < until)
                std::this_thread::yield();
            if (generation_.load(std::memory_order_acquire) == seen) {
                std::unique_lock<std::mutex> lock(mutex_);
                wake_.wait(lock, [&] { return generation_.load() != seen; });
            }
            seen = generation_.load(std::memory_order_acquire);
            if (stopping_) return;
            take_items();
            busy_.fetch_sub(1, std::memory_order_release);
        }
    }

    std::vector<std::thread> threads_;
    std::mutex job_mutex_, mutex_;
    std::condition_variable wake_;
    std::atomic<unsigned> generation_{0};
    std::atomic<int> next_{0}, busy_{0};
    int count_ = 0;
    const std::function<void(int)> *work_ = nullptr;
    bool stopping_ = false;
};

std::mutex pool_mutex;
std::unique_ptr<Pool> pool;
int pool_threads = 0;
long pool_process = 0;

long this_process() {
#ifndef _WIN32
    return (long)getpid();
#else
    return 0;
#endif
}

Pool &current_pool() {
    std::lock_guard<std::mutex> lock(pool_mutex);
    // Threads do not survive a fork: the child must forget the parent's pool, not join it.
    if (pool && pool_process != this_process()) (void)pool.release();
    if (!pool || pool_threads != num_threads()) {
        pool_threads = num_threads();
        pool = std::make_unique<Pool>(pool_threads - 1);
        pool_process = this_process();
    }
    return *pool;
}

}  // namespace

int num_threads() {
    if (requested_threads > 0) return requested_threads;
    int n = (int)std::thread::hardware_concurrency();
    return n > 0 ? n : 1;
}

void set_num_threads(int n) {
    if (n < 1 || n > 256) throw std::invalid_argument("threads: expected 1 to 256, found " + std::to_string(n));
    requested_threads = n;
}

void threads_from_environment() {
    const char *text = std::getenv("FEWVIEW_THREADS");
    if (!text || !*text) return;
    char *end = nullptr;
    const long n = std::strtol(text, &end, 10);
    if (*end || n < 1 || n > 256)
        throw std::invalid_argument("FEWVIEW_THREADS: expected 1 to 256, found '" + std::string(text) + "'");
    requested_threads = (int)n;
}

void parallel_for(int count, const std::function<void(int)> &work) {
    const FlushDenormals flush;
    if (count <= 1 || num_threads() == 1) {
        for (int i = 0; i < count; i++) work(i);
        return;
    }
    current_pool().run(count, work);
}

}  // namespace fewview

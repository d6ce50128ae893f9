// Vectors of this processor, and its threads.

#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#if defined(__AVX512F__)
constexpr int kBytes = 64, kRun = 2;  // of a vector, of 32; P positions are 6 runs of so many
#elif defined(__AVX__)
constexpr int kBytes = 32, kRun = 1;  // of 16
#else
constexpr int kBytes = 16, kRun = 1;
#endif
constexpr int kRuns = 6;  // with two vectors, 12 or 24 registers hold sums

template <typename T>
struct Lanes {
  static constexpr int count = kBytes / sizeof(T);
  typedef T Vector __attribute__((vector_size(kBytes)));

  static Vector load(const T* from) {
    Vector vector;
    std::memcpy(&vector, from, kBytes);
    return vector;
  }
  // Into a register: compilers would read it again for every multiply-add.
  static Vector hold(const T* from) {
    Vector vector = load(from);
#if defined(__x86_64__)
    asm("" : "+v"(vector));
#endif
    return vector;
  }
  static void store(T* to, Vector vector) { std::memcpy(to, &vector, kBytes); }
};

// Calls body(0) ... body(count - 1) on the pool's threads and on this one. Waits only for what has
// begun: the pool may be full of tasks that themselves wait for this one.
template <typename Pool>
void parallel(Pool& pool, int64_t count, const std::function<void(int64_t)>& body) {
  struct Work {
    std::function<void(int64_t)> body;
    int64_t count;
    std::atomic<int64_t> taken{0};
    int64_t done = 0;
    std::mutex mutex;
    std::condition_variable all_done;

    void take() {
      for (int64_t i; (i = taken++) < count;) {
        body(i);
        std::lock_guard<std::mutex> lock(mutex);
        if (++done == count) all_done.notify_all();
      }
    }
  };
  auto work = std::make_shared<Work>();
  work->body = body;
  work->count = count;
  for (int64_t i = std::min(pool.num_threads(), count); i > 1; --i)
    pool.Schedule([work] { work->take(); });
  work->take();
  std::unique_lock<std::mutex> lock(work->mutex);
  work->all_done.wait(lock, [&] { return work->done == count; });
}

// A buffer of this thread, kept from call to call; `which` tells two apart.
template <typename T, int which>
T* scratch(size_t size) {
  static thread_local std::vector<T> buffer;
  if (buffer.size() < size) buffer.resize(size);
  return buffer.data();
}

#pragma once

#include <deque>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include "base/result.h"
#include "base/thread_annotations.h"
#include "runtime/completion.h"
#include "runtime/job.h"
#include "runtime/task.h"

namespace dunlin {

// Threads for work that blocks (disk reads, DNS), behind a bounded queue. Any thread submits. Stop: refuse new jobs, run the queued
// ones, join; stop() before the workers that wait for results are destroyed.
class OffloadPool {
 public:
  struct Options {
    std::string name = "offload";
    std::size_t threads = 2;
    std::size_t queue_jobs = 4096;
  };
  explicit OffloadPool(Options options);
  ~OffloadPool();
  OffloadPool(const OffloadPool&) = delete;
  OffloadPool& operator=(const OffloadPool&) = delete;

  // False (and the job is destroyed unrun) when the queue is full or the pool is stopping.
  [[nodiscard]] bool submit(Job job) EXCLUDES(mutex_);
  std::size_t queued() const EXCLUDES(mutex_);
  void stop() EXCLUDES(mutex_);

 private:
  void run() EXCLUDES(mutex_);

  const Options options_;
  mutable Mutex mutex_;
  CondVar changed_;
  std::deque<Job> queue_ GUARDED_BY(mutex_);
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

namespace offload_detail {
template <class R>
struct Unwrapped {
  using type = R;
};
template <class R>
struct Unwrapped<Result<R>> {
  using type = R;
};
}  // namespace offload_detail

// `Result<T> r = co_await offload(pool, fn);` runs fn (returning T or Result<T>) on a thread of `pool` and resumes on the worker that
// awaits. Overloaded when the pool's queue is full; Cancelled when the pool stopped first.
template <class F, class R = std::invoke_result_t<F&>, class T = typename offload_detail::Unwrapped<R>::type>
Task<Result<T>> offload(OffloadPool& pool, F fn) {
  auto ends = make_completion<T>();
  const bool queued = pool.submit([fn = std::move(fn), completer = std::move(ends.first)]() mutable {
    if constexpr (std::is_void_v<R>) {
      fn();
      completer.complete({});
    } else {
      completer.complete(fn());
    }
  });
  if (!queued) co_return Error(ErrorCode::Overloaded, "the queue for blocking work is full");
  co_return co_await std::move(ends.second);
}

}  // namespace dunlin

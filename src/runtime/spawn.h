#pragma once

#include <condition_variable>
#include <mutex>
#include <optional>

#include "runtime/task.h"
#include "runtime/worker.h"

namespace dunlin {

// The frame of a detached coroutine, known to its worker so that stop can drain or destroy it.
struct SpawnedFrame {
  SpawnedFrame* prev = nullptr;
  SpawnedFrame* next = nullptr;
  Worker* worker = nullptr;
  std::coroutine_handle<> frame;
};

// Starts `task` now, detached, on the current worker, which counts it until it ends (Worker::live_tasks). Outside any worker (tests)
// it just runs, untracked.
void spawn(Task<void> task);

// Runs `task` to its end and blocks the calling thread meanwhile. For tests and command-line programs, never on a worker.
template <class T>
T block_on(Task<T> task) {
  CHECK(Worker::current() == nullptr);
  std::mutex mutex;
  std::condition_variable cv;
  bool done = false;
  std::optional<T> value;
  auto finish = [&](std::optional<T> v) {
    std::lock_guard lock(mutex);
    value = std::move(v);
    done = true;
    cv.notify_all();
  };
  spawn([](Task<T> inner, decltype(finish)& end) -> Task<void> { end(std::optional<T>(co_await std::move(inner))); }(std::move(task),
                                                                                                                     finish));
  std::unique_lock lock(mutex);
  cv.wait(lock, [&] { return done; });
  return std::move(*value);
}

void block_on(Task<void> task);

}  // namespace dunlin

#pragma once

#include <coroutine>

#include "runtime/timer_wheel.h"
#include "runtime/worker.h"

namespace dunlin {

// `co_await sleep_for(ms)` on a worker: resumes on it after at least `ms`. Destroying the waiting coroutine cancels it.
class SleepAwaiter final : public Timer {
 public:
  explicit SleepAwaiter(Milliseconds wait) : wait_(wait) {}
  ~SleepAwaiter() {
    if (armed()) worker_->timers().cancel(*this);
  }
  bool await_ready() const noexcept { return wait_.count() <= 0; }
  void await_suspend(std::coroutine_handle<> waiter) {
    worker_ = Worker::current();
    CHECK(worker_ != nullptr);
    waiter_ = waiter;
    worker_->timers().arm(*this, worker_->clock().monotonic() + wait_);
  }
  void await_resume() const noexcept {}
  void on_timer() override { waiter_.resume(); }

 private:
  Milliseconds wait_;
  Worker* worker_ = nullptr;
  std::coroutine_handle<> waiter_;
};

inline SleepAwaiter sleep_for(Milliseconds wait) {
  return SleepAwaiter(wait);
}

}  // namespace dunlin

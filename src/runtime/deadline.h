#pragma once

#include <coroutine>
#include <memory>
#include <utility>

#include "runtime/completion.h"
#include "runtime/timer_wheel.h"
#include "runtime/worker.h"

namespace dunlin {

// `Result<T> r = co_await until(deadline, std::move(completion));` resumes as the completion does, or with Timeout when the deadline passes
// first. What completes later is dropped where it arrives. So whoever waits for another session, which may be another worker's, says how
// long.
// Outside workers (tests) it waits without a deadline. Destroying the waiting coroutine is safe on its own worker.
template <class T>
class DeadlineAwaiter final : private Timer {
 public:
  DeadlineAwaiter(MonotonicTime deadline, std::shared_ptr<completion_detail::State<T>> state)
      : deadline_(deadline), state_(std::move(state)) {}
  ~DeadlineAwaiter() {
    disarm();
    state_->abandon();
  }

  bool await_ready() const noexcept { return state_->ready(); }
  bool await_suspend(std::coroutine_handle<> waiter) {
    waiter_ = waiter;
    worker_ = Worker::current();
    // Before the wait begins: without a worker the coroutine, and this with it, may be gone when wait() returns.
    if (worker_ != nullptr) worker_->timers().arm(*this, deadline_);
    return state_->wait(waiter);
  }
  Result<T> await_resume() {
    disarm();
    if (late_) return Error(ErrorCode::Timeout, "what it waited for did not come in time");
    return state_->take();
  }

 private:
  void disarm() {
    if (armed()) worker_->timers().cancel(*this);
  }
  void on_timer() override {
    state_->abandon();
    late_ = true;
    waiter_.resume();
  }

  const MonotonicTime deadline_;
  const std::shared_ptr<completion_detail::State<T>> state_;
  Worker* worker_ = nullptr;
  std::coroutine_handle<> waiter_;
  bool late_ = false;
};

template <class T>
DeadlineAwaiter<T> until(MonotonicTime deadline, Completion<T> completion) {
  return DeadlineAwaiter<T>(deadline, std::move(completion.state_));
}

}  // namespace dunlin

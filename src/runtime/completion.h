#pragma once

#include <atomic>
#include <coroutine>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/thread_annotations.h"
#include "runtime/worker.h"

namespace dunlin {

// A suspended coroutine that some event will resume.
class Resumable {
 public:
  virtual ~Resumable() = default;
  virtual void resume() = 0;  // on the worker of its queue
};

// Brings results of other threads back to a worker. It never refuses: what it holds is bounded by the operations that were admitted
// elsewhere (offload queue, committer). Shared, so that an operation which ends after its worker is gone finds it closed and is dropped.
class ResumeQueue {
 public:
  explicit ResumeQueue(Worker& worker) : worker_(&worker) {}
  void push(std::shared_ptr<Resumable> item) EXCLUDES(mutex_);
  bool run_all() EXCLUDES(mutex_);  // on the worker; true if there was something
  bool empty() const EXCLUDES(mutex_);
  void close() EXCLUDES(mutex_);

 private:
  mutable Mutex mutex_;
  Worker* worker_ GUARDED_BY(mutex_);  // null once closed
  std::vector<std::shared_ptr<Resumable>> items_ GUARDED_BY(mutex_);
};

namespace completion_detail {

template <class T>
class State final : public Resumable, public std::enable_shared_from_this<State<T>> {
 public:
  void set(Result<T> value) {
    value_.emplace(std::move(value));
    if (phase_.exchange(Phase::Done, std::memory_order_acq_rel) != Phase::Waiting) return;
    if (queue_) {
      queue_->push(this->shared_from_this());
    } else {
      resume();
    }
  }
  bool ready() const { return phase_.load(std::memory_order_acquire) == Phase::Done; }
  bool wait(std::coroutine_handle<> waiter) {
    waiter_ = waiter;
    if (Worker* worker = Worker::current()) queue_ = worker->resume_queue();
    Phase expected = Phase::Empty;
    return phase_.compare_exchange_strong(expected, Phase::Waiting, std::memory_order_acq_rel);
  }
  void resume() override {
    if (auto waiter = std::exchange(waiter_, nullptr)) waiter.resume();
  }
  void abandon() { waiter_ = nullptr; }
  Result<T> take() { return *std::move(value_); }

 private:
  enum class Phase : std::uint8_t { Empty, Waiting, Done };
  std::atomic<Phase> phase_{Phase::Empty};
  std::optional<Result<T>> value_;
  std::coroutine_handle<> waiter_;
  std::shared_ptr<ResumeQueue> queue_;
};

}  // namespace completion_detail

// The giving end of an operation that ends later: complete() once, on any thread. Dropped without it, the waiter gets Cancelled.
template <class T>
class Completer {
 public:
  Completer() = default;
  explicit Completer(std::shared_ptr<completion_detail::State<T>> state) : state_(std::move(state)) {}
  Completer(Completer&&) noexcept = default;
  Completer& operator=(Completer&& other) noexcept {
    cancel();
    state_ = std::move(other.state_);
    return *this;
  }
  ~Completer() { cancel(); }

  void complete(Result<T> value) {
    CHECK(state_);
    std::exchange(state_, nullptr)->set(std::move(value));
  }
  explicit operator bool() const { return state_ != nullptr; }

 private:
  void cancel() {
    if (state_) complete(Error(ErrorCode::Cancelled, "the operation was dropped"));
  }
  std::shared_ptr<completion_detail::State<T>> state_;
};

// The waiting end: `Result<T> r = co_await std::move(completion);` resumes on the worker that awaited it (or, outside workers, on
// the completing thread). Destroying a waiting coroutine is safe on its own worker: the result is dropped.
template <class T>
class DeadlineAwaiter;

template <class T>
class [[nodiscard]] Completion {
 public:
  explicit Completion(std::shared_ptr<completion_detail::State<T>> state) : state_(std::move(state)) {}

  auto operator co_await() && noexcept {
    struct Awaiter {
      std::shared_ptr<completion_detail::State<T>> state;
      explicit Awaiter(std::shared_ptr<completion_detail::State<T>> s) : state(std::move(s)) {}
      Awaiter(Awaiter&&) noexcept = default;
      ~Awaiter() {
        if (state) state->abandon();
      }
      bool await_ready() const noexcept { return state->ready(); }
      bool await_suspend(std::coroutine_handle<> waiter) { return state->wait(waiter); }
      Result<T> await_resume() { return state->take(); }
    };
    return Awaiter(std::move(state_));
  }

 private:
  template <class U>
  friend DeadlineAwaiter<U> until(MonotonicTime deadline, Completion<U> completion);
  std::shared_ptr<completion_detail::State<T>> state_;
};

template <class T>
std::pair<Completer<T>, Completion<T>> make_completion() {
  auto state = std::make_shared<completion_detail::State<T>>();
  return {Completer<T>(state), Completion<T>(state)};
}

}  // namespace dunlin

#include "runtime/spawn.h"

namespace dunlin {
namespace {

// The root of a detached chain of tasks: destroys itself at its end, or is destroyed by its worker's stop.
struct Detached {
  struct promise_type {
    SpawnedFrame link;

    ~promise_type() {
      if (link.worker) link.worker->untrack(link);
    }
    Detached get_return_object() {
      link.frame = std::coroutine_handle<promise_type>::from_promise(*this);
      if (Worker* worker = Worker::current()) worker->track(link);
      return {};
    }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    [[noreturn]] void unhandled_exception() noexcept { std::terminate(); }
  };
};

Detached detach(Task<void> task) {
  co_await std::move(task);
}

Task<bool> yield_true(Task<void> task) {
  co_await std::move(task);
  co_return true;
}

}  // namespace

void spawn(Task<void> task) {
  detach(std::move(task));
}

void block_on(Task<void> task) {
  block_on(yield_true(std::move(task)));
}

}  // namespace dunlin

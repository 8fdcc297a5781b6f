#pragma once

#include <functional>
#include <utility>

#include "runtime/timer_wheel.h"
#include "runtime/worker.h"

namespace dunlin {

// Calls a function again and again, the first time after one period. Worker-bound; construct and destroy it on the worker, before its
// start or after its stop. At most a handful for each worker.
class Every final : public Timer {
 public:
  Every(Worker& worker, Milliseconds period, std::function<void()> run) : worker_(worker), period_(period), run_(std::move(run)) {
    worker_.timers().arm(*this, worker_.clock().monotonic() + period_);
  }
  ~Every() { worker_.timers().cancel(*this); }
  void on_timer() override {
    worker_.timers().arm(*this, worker_.now() + period_);
    run_();
  }

 private:
  Worker& worker_;
  const Milliseconds period_;
  const std::function<void()> run_;
};

}  // namespace dunlin

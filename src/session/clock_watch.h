#pragma once

#include <chrono>
#include <utility>

#include "base/clock.h"

namespace dunlin {

// Tells when the wall clock was set: it has then moved against the monotonic one since the last look. Timers run on the monotonic clock, so
// whoever judges by the wall clock (tokens, devices) has to judge again. Worker-bound.
class ClockWatch {
 public:
  explicit ClockWatch(const Clock& clock) : clock_(clock), offset_(offset()) {}

  bool was_set() {
    const Milliseconds now = offset();
    const Milliseconds step = now - std::exchange(offset_, now);
    return step >= kStep || -step >= kStep;
  }

 private:
  // A smaller step is none: clocks are slewed, and turns take time.
  static constexpr Milliseconds kStep{1'000};
  Milliseconds offset() const {
    return clock_.wall().time_since_epoch() - std::chrono::duration_cast<Milliseconds>(clock_.monotonic().time_since_epoch());
  }

  const Clock& clock_;
  Milliseconds offset_;  // wall clock less monotonic clock, when last looked
};

}  // namespace dunlin

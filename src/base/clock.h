#pragma once

#include <chrono>
#include <cstdint>

namespace dunlin {

using Milliseconds = std::chrono::milliseconds;
using MonotonicTime = std::chrono::steady_clock::time_point;

// Milliseconds since 1970-01-01 UTC; for display, retention and token expiry, never for order.
using WallTime = std::chrono::sys_time<Milliseconds>;

// Where all of the server gets its time from, so that tests can set it. Any thread.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual MonotonicTime monotonic() const = 0;
  virtual WallTime wall() const = 0;
};

class SystemClock final : public Clock {
 public:
  MonotonicTime monotonic() const override { return std::chrono::steady_clock::now(); }
  WallTime wall() const override { return std::chrono::time_point_cast<Milliseconds>(std::chrono::system_clock::now()); }
};

// A clock that moves only when told. Not thread-safe.
class ManualClock final : public Clock {
 public:
  MonotonicTime monotonic() const override { return monotonic_; }
  WallTime wall() const override { return wall_; }
  void advance(Milliseconds by) {
    monotonic_ += by;
    wall_ += by;
  }
  void set_wall(WallTime wall) { wall_ = wall; }

 private:
  MonotonicTime monotonic_{std::chrono::hours(1)};
  WallTime wall_{std::chrono::hours(24 * 365 * 50)};
};

inline std::int64_t to_ms(WallTime time) {
  return time.time_since_epoch().count();
}
inline WallTime from_ms(std::int64_t ms) {
  return WallTime(Milliseconds(ms));
}

}  // namespace dunlin

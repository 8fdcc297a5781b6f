#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/clock.h"

namespace dunlin {

class TimerWheel;

// The link by which something that has a deadline sits in a TimerWheel: 24 bytes, no allocation. Its owner cancels it before it dies
// (the destructor checks). `kind` says which function of the wheel is called when it fires.
class TimerNode {
 public:
  TimerNode() = default;
  explicit TimerNode(std::uint8_t kind) : kind_(kind) {}
  TimerNode(const TimerNode&) = delete;
  TimerNode& operator=(const TimerNode&) = delete;
  ~TimerNode();
  bool armed() const { return next_ != nullptr; }

 private:
  friend class TimerWheel;
  TimerNode* prev_ = nullptr;
  TimerNode* next_ = nullptr;
  std::uint32_t tick_ = 0;
  std::uint8_t level_ = 0;
  std::uint8_t slot_ = 0;
  std::uint8_t kind_ = 0;
};

// A timer with a virtual function, for the places where there are few of them.
class Timer : public TimerNode {
 public:
  Timer() = default;
  virtual void on_timer() = 0;

 protected:
  ~Timer() = default;
};

// Hierarchical timer wheel of one worker: four levels of 64 slots, ticks of 8 ms (so up to 37 h; longer waits are cut to that). Arm, re-arm
// and cancel are O(1) and touch no memory but the node's neighbours. A timer fires at or after its deadline, up to one tick late.
// Worker-bound; it has no thread or clock of its own: advance() is told the time, next_deadline() says when to call again.
// A callback may arm and cancel any node, itself included, and destroy its own owner.
class TimerWheel {
 public:
  using Fire = void (*)(TimerNode&);
  static constexpr Milliseconds kTick{8};

  explicit TimerWheel(MonotonicTime start);
  ~TimerWheel();
  TimerWheel(const TimerWheel&) = delete;
  TimerWheel& operator=(const TimerWheel&) = delete;

  // Registers what happens when a node of the returned kind fires (at most 8 kinds; kind 0 is Timer).
  std::uint8_t add_kind(Fire fire);

  void arm(TimerNode& node, MonotonicTime deadline);
  void cancel(TimerNode& node);

  // Fires everything that is due at `now`.
  void advance(MonotonicTime now);

  // When advance() has something to do next (may be early by a slot of an upper level); MonotonicTime::max() when nothing is armed.
  MonotonicTime next_deadline() const;
  std::size_t armed_count() const { return armed_; }

 private:
  static constexpr int kLevels = 4;
  static constexpr int kSlotBits = 6;
  static constexpr std::uint32_t kSlots = 1U << kSlotBits;

  void insert(TimerNode& node);
  void unlink(TimerNode& node);
  void run_tick();
  void cascade(int level, std::uint32_t slot);
  std::uint32_t next_event_tick() const;

  MonotonicTime start_;
  std::uint32_t tick_ = 0;  // the last tick that has run
  std::size_t armed_ = 0;
  std::array<std::uint64_t, kLevels> occupied_{};
  std::array<std::array<TimerNode, kSlots>, kLevels> slots_;  // ring heads
  std::array<Fire, 8> kinds_{};
  std::uint8_t kind_count_ = 0;
};

}  // namespace dunlin

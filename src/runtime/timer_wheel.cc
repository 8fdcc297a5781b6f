#include "runtime/timer_wheel.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "base/check.h"

namespace dunlin {

TimerNode::~TimerNode() {
  CHECK(!armed());
}

TimerWheel::TimerWheel(MonotonicTime start) : start_(start) {
  for (auto& level : slots_) {
    for (TimerNode& head : level) head.prev_ = head.next_ = &head;
  }
  add_kind([](TimerNode& node) { static_cast<Timer&>(node).on_timer(); });
}

TimerWheel::~TimerWheel() {
  for (auto& level : slots_) {
    for (TimerNode& head : level) {
      while (head.next_ != &head) unlink(*head.next_);
      head.prev_ = head.next_ = nullptr;
    }
  }
}

std::uint8_t TimerWheel::add_kind(Fire fire) {
  CHECK(kind_count_ < kinds_.size());
  kinds_[kind_count_] = fire;
  return kind_count_++;
}

void TimerWheel::arm(TimerNode& node, MonotonicTime deadline) {
  if (node.armed()) unlink(node);
  constexpr std::int64_t kFarthest = (std::int64_t{1} << (kLevels * kSlotBits)) - 1;
  const std::int64_t ticks = deadline <= start_ ? 0 : (deadline - start_ + kTick - MonotonicTime::duration(1)) / kTick;
  const std::int64_t delta = std::clamp<std::int64_t>(ticks - tick_, 1, kFarthest);
  node.tick_ = static_cast<std::uint32_t>(tick_ + delta);
  insert(node);
}

void TimerWheel::cancel(TimerNode& node) {
  if (node.armed()) unlink(node);
}

void TimerWheel::insert(TimerNode& node) {
  const std::uint32_t delta = node.tick_ - tick_;
  int level = 0;
  while (level < kLevels - 1 && delta >> ((level + 1) * kSlotBits) != 0) ++level;
  const std::uint32_t slot = (node.tick_ >> (level * kSlotBits)) & (kSlots - 1);
  TimerNode& head = slots_[level][slot];
  node.level_ = static_cast<std::uint8_t>(level);
  node.slot_ = static_cast<std::uint8_t>(slot);
  node.prev_ = head.prev_;
  node.next_ = &head;
  head.prev_->next_ = &node;
  head.prev_ = &node;
  occupied_[level] |= std::uint64_t{1} << slot;
  ++armed_;
}

void TimerWheel::unlink(TimerNode& node) {
  node.prev_->next_ = node.next_;
  node.next_->prev_ = node.prev_;
  node.prev_ = node.next_ = nullptr;
  --armed_;
  TimerNode& head = slots_[node.level_][node.slot_];
  if (head.next_ == &head) occupied_[node.level_] &= ~(std::uint64_t{1} << node.slot_);
}

void TimerWheel::advance(MonotonicTime now) {
  if (now < start_) return;
  const auto target = static_cast<std::uint32_t>((now - start_) / kTick);
  while (tick_ < target) {
    const std::uint32_t next = armed_ == 0 ? target : std::min(next_event_tick(), target);
    tick_ = next;
    run_tick();
  }
}

// Upper levels first: what falls down into the current slot is due now.
void TimerWheel::run_tick() {
  for (int level = kLevels - 1; level > 0; --level) {
    const std::uint32_t below = (std::uint32_t{1} << (level * kSlotBits)) - 1;
    if ((tick_ & below) == 0) cascade(level, (tick_ >> (level * kSlotBits)) & (kSlots - 1));
  }
  TimerNode& head = slots_[0][tick_ & (kSlots - 1)];
  while (head.next_ != &head) {
    TimerNode& node = *head.next_;
    unlink(node);
    kinds_[node.kind_](node);
  }
}

void TimerWheel::cascade(int level, std::uint32_t slot) {
  TimerNode& head = slots_[level][slot];
  while (head.next_ != &head) {
    TimerNode& node = *head.next_;
    unlink(node);
    insert(node);
  }
}

// The next tick at which a slot of level 0 fires or an occupied slot above it falls down.
std::uint32_t TimerWheel::next_event_tick() const {
  std::uint32_t best = std::numeric_limits<std::uint32_t>::max();
  for (int level = 0; level < kLevels; ++level) {
    if (occupied_[level] == 0) continue;
    const std::uint32_t current = tick_ >> (level * kSlotBits);
    // Bit k of the rotated map is the slot k + 1 steps ahead.
    const std::uint64_t ahead = std::rotr(occupied_[level], static_cast<int>((current + 1) & (kSlots - 1)));
    const std::uint32_t steps = static_cast<std::uint32_t>(std::countr_zero(ahead)) + 1;
    best = std::min(best, (current + steps) << (level * kSlotBits));
  }
  return best;
}

MonotonicTime TimerWheel::next_deadline() const {
  if (armed_ == 0) return MonotonicTime::max();
  return start_ + kTick * static_cast<std::int64_t>(next_event_tick());
}

}  // namespace dunlin

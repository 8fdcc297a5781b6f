#include "runtime/timer_wheel.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace dunlin {
namespace {

struct CountingTimer final : Timer {
  void on_timer() override {
    ++fired;
    if (wheel && again.count() > 0) wheel->arm(*this, now() + again);
  }
  MonotonicTime now() const { return *clock; }
  int fired = 0;
  TimerWheel* wheel = nullptr;
  const MonotonicTime* clock = nullptr;
  Milliseconds again{0};
};

const MonotonicTime kStart{std::chrono::hours(5)};

TEST(TimerWheelTest, FiresAtOrAfterTheDeadlineAndNotMoreThanATickLate) {
  TimerWheel wheel(kStart);
  for (int ms : {1, 7, 8, 9, 100, 511, 512, 513, 30000, 75000, 3'600'000}) {
    TimerWheel fresh(kStart);
    CountingTimer timer;
    fresh.arm(timer, kStart + Milliseconds(ms));
    fresh.advance(kStart + Milliseconds(ms) - Milliseconds(1));
    EXPECT_EQ(timer.fired, 0) << ms;
    fresh.advance(kStart + Milliseconds(ms) + TimerWheel::kTick);
    EXPECT_EQ(timer.fired, 1) << ms;
  }
}

TEST(TimerWheelTest, DoesNotFireACancelledTimer) {
  TimerWheel wheel(kStart);
  CountingTimer timer;
  wheel.arm(timer, kStart + Milliseconds(50));
  wheel.cancel(timer);
  wheel.advance(kStart + Milliseconds(1000));
  EXPECT_EQ(timer.fired, 0);
  EXPECT_EQ(wheel.armed_count(), 0U);
  EXPECT_EQ(wheel.next_deadline(), MonotonicTime::max());
}

TEST(TimerWheelTest, RearmingReplacesTheDeadline) {
  TimerWheel wheel(kStart);
  CountingTimer timer;
  wheel.arm(timer, kStart + Milliseconds(50));
  wheel.arm(timer, kStart + Milliseconds(5000));
  wheel.advance(kStart + Milliseconds(4999));
  EXPECT_EQ(timer.fired, 0);
  wheel.advance(kStart + Milliseconds(5008));
  EXPECT_EQ(timer.fired, 1);
}

TEST(TimerWheelTest, ADeadlineInThePastFiresAtTheNextTick) {
  TimerWheel wheel(kStart);
  wheel.advance(kStart + Milliseconds(1000));
  CountingTimer timer;
  wheel.arm(timer, kStart);
  wheel.advance(kStart + Milliseconds(1008));
  EXPECT_EQ(timer.fired, 1);
}

TEST(TimerWheelTest, ACallbackMayRearmItself) {
  TimerWheel wheel(kStart);
  MonotonicTime now = kStart;
  CountingTimer timer;
  timer.wheel = &wheel;
  timer.clock = &now;
  timer.again = Milliseconds(100);
  wheel.arm(timer, now + timer.again);
  for (int i = 0; i < 1100; ++i) {
    now += Milliseconds(1);
    wheel.advance(now);
  }
  EXPECT_GE(timer.fired, 9);
  EXPECT_LE(timer.fired, 11);
  wheel.cancel(timer);
}

TEST(TimerWheelTest, ACallbackMayCancelAnotherTimerOfTheSameTick) {
  struct Killer final : Timer {
    void on_timer() override { wheel->cancel(*victim); }
    TimerWheel* wheel = nullptr;
    TimerNode* victim = nullptr;
  };
  TimerWheel wheel(kStart);
  Killer killer;
  CountingTimer victim;
  killer.wheel = &wheel;
  killer.victim = &victim;
  wheel.arm(killer, kStart + Milliseconds(20));
  wheel.arm(victim, kStart + Milliseconds(20));
  wheel.advance(kStart + Milliseconds(100));
  EXPECT_EQ(victim.fired, 0);
}

TEST(TimerWheelTest, FiresEveryOneOfManyRandomTimersInItsTick) {
  struct Stamped final : Timer {
    void on_timer() override { fired_at = *clock; }
    MonotonicTime deadline, fired_at{};
    const MonotonicTime* clock = nullptr;
  };
  std::mt19937 random(7);
  TimerWheel wheel(kStart);
  MonotonicTime now = kStart;
  std::vector<std::unique_ptr<Stamped>> timers;
  for (int i = 0; i < 20000; ++i) {
    auto timer = std::make_unique<Stamped>();
    timer->clock = &now;
    timer->deadline = kStart + Milliseconds(1 + random() % 3'000'000);
    wheel.arm(*timer, timer->deadline);
    timers.push_back(std::move(timer));
  }
  while (wheel.armed_count() > 0) {
    now = std::max(now + Milliseconds(1), wheel.next_deadline());  // only when the wheel asks for it
    wheel.advance(now);
  }
  for (const auto& timer : timers) {
    EXPECT_GE(timer->fired_at, timer->deadline);
    EXPECT_LE(timer->fired_at, timer->deadline + TimerWheel::kTick + Milliseconds(1));
  }
}

TEST(TimerWheelTest, NodeIsAtMostTwentyFourBytes) {
  EXPECT_LE(sizeof(TimerNode), 24U);
}

}  // namespace
}  // namespace dunlin

#include "session/user_rate.h"

#include <gtest/gtest.h>

namespace dunlin {
namespace {

constexpr UserRateRule kTenASecond{.mode = LimitMode::Enforce, .per_second = 10, .burst = 20};

int take_many(UserRate& rate, std::string_view user, MonotonicTime now, int attempts) {
  int allowed = 0;
  for (int i = 0; i < attempts; ++i) allowed += rate.take(user, now, kTenASecond).allowed ? 1 : 0;
  return allowed;
}

TEST(UserRateTest, AllowsOneBurstAndThenTheRate) {
  UserRate rate;
  ManualClock clock;
  EXPECT_EQ(take_many(rate, "alice", clock.monotonic(), 100), 20);
  clock.advance(Milliseconds(1000));
  EXPECT_EQ(take_many(rate, "alice", clock.monotonic(), 100), 10);
}

TEST(UserRateTest, TellsWhenTheNextTokenComes) {
  UserRate rate;
  ManualClock clock;
  take_many(rate, "alice", clock.monotonic(), 20);
  const auto refused = rate.take("alice", clock.monotonic(), kTenASecond);
  ASSERT_FALSE(refused.allowed);
  EXPECT_LE(refused.retry_after, Milliseconds(101));
  clock.advance(refused.retry_after);
  EXPECT_TRUE(rate.take("alice", clock.monotonic(), kTenASecond).allowed);
}

TEST(UserRateTest, KeepsUsersApart) {
  UserRate rate;
  ManualClock clock;
  take_many(rate, "alice", clock.monotonic(), 100);
  EXPECT_EQ(take_many(rate, "bob", clock.monotonic(), 100), 20);
}

TEST(UserRateTest, RefusedAttemptsCostNothing) {
  UserRate rate;
  ManualClock clock;
  take_many(rate, "alice", clock.monotonic(), 10'000);
  clock.advance(Milliseconds(200));
  EXPECT_EQ(take_many(rate, "alice", clock.monotonic(), 100), 2);
}

TEST(UserRateTest, ForgetsUsersWhoseBucketIsFullAgain) {
  UserRate rate;
  ManualClock clock;
  for (int round = 0; round < 20; ++round) {
    for (int i = 0; i < 10'000; ++i) rate.take("user" + std::to_string(round) + "-" + std::to_string(i), clock.monotonic(), kTenASecond);
    clock.advance(Milliseconds(10'000));
  }
  EXPECT_LT(rate.tracked_users(), 60'000u);
}

TEST(UserRateTest, ZeroRateMeansNoLimit) {
  UserRate rate;
  ManualClock clock;
  const UserRateRule none{.mode = LimitMode::Enforce, .per_second = 0, .burst = 0};
  for (int i = 0; i < 1000; ++i) EXPECT_TRUE(rate.take("alice", clock.monotonic(), none).allowed);
  EXPECT_EQ(rate.tracked_users(), 0u);
}

}  // namespace
}  // namespace dunlin

#include "messaging/delivery/device_turns.h"

#include <gtest/gtest.h>

#include <atomic>
#include <optional>
#include <thread>
#include <vector>

#include "runtime/spawn.h"

namespace dunlin {
namespace {

Task<void> hold(DeviceTurns& turns, UserId user, std::vector<int>& order, int number, std::optional<DeviceTurns::Turn>& held) {
  auto turn = co_await turns.take(user);
  order.push_back(number);
  if (turn.ok()) held.emplace(*std::move(turn));
}

TEST(DeviceTurnsTest, TurnsOfAUserComeOneAfterTheOtherInTheOrderOfAsking) {
  DeviceTurns turns;
  std::vector<int> order;
  std::optional<DeviceTurns::Turn> held[4];
  for (int i = 0; i < 3; ++i) spawn(hold(turns, UserId("alice"), order, i, held[i]));
  spawn(hold(turns, UserId("bob"), order, 3, held[3]));
  EXPECT_EQ(order, (std::vector<int>{0, 3})) << "another user waits for nobody";
  held[0].reset();
  EXPECT_EQ(order, (std::vector<int>{0, 3, 1}));
  held[1].reset();
  EXPECT_EQ(order, (std::vector<int>{0, 3, 1, 2}));
  held[2].reset();
  held[3].reset();
  EXPECT_EQ(turns.users(), 0U) << "nothing is left of a user";
}

TEST(DeviceTurnsTest, ATurnThatNobodyWaitsForAnyMoreGoesOnToTheNext) {
  DeviceTurns turns;
  std::vector<int> order;
  std::optional<DeviceTurns::Turn> first;
  std::optional<DeviceTurns::Turn> last;
  spawn(hold(turns, UserId("alice"), order, 1, first));
  {
    const auto given_up = turns.take(UserId("alice"));
  }
  spawn(hold(turns, UserId("alice"), order, 2, last));
  first.reset();
  EXPECT_EQ(order, (std::vector<int>{1, 2}));
  last.reset();
  EXPECT_EQ(turns.users(), 0U);
}

TEST(DeviceTurnsTest, OneAtATimeOverManyThreads) {
  DeviceTurns turns;
  int inside = 0;  // guarded by the turn alone
  std::atomic<int> most{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 500; ++i) {
        block_on([](DeviceTurns& all, int& count, std::atomic<int>& peak) -> Task<void> {
          const auto turn = co_await all.take(UserId("alice"));
          peak = std::max(peak.load(), ++count);
          --count;
        }(turns, inside, most));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(most, 1);
  EXPECT_EQ(turns.users(), 0U);
}

}  // namespace
}  // namespace dunlin

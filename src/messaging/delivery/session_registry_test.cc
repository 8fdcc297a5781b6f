#include "messaging/delivery/session_registry.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <string>
#include <thread>

namespace dunlin {
namespace {

std::vector<ConnectionRef> sessions_of(const SessionRegistry& registry, std::string_view user) {
  std::vector<ConnectionRef> out;
  registry.sessions(user, out);
  return out;
}

TEST(SessionRegistryTest, FindsAllSessionsOfAUserAndNobodyElses) {
  SessionRegistry registry;
  registry.add("alice", "phone", 1);
  registry.add("alice", "laptop", 2);
  registry.add("bob", "phone", 3);
  EXPECT_EQ(sessions_of(registry, "alice"), (std::vector<ConnectionRef>{1, 2}));
  EXPECT_EQ(sessions_of(registry, "bob"), (std::vector<ConnectionRef>{3}));
  EXPECT_TRUE(sessions_of(registry, "carol").empty());
  EXPECT_EQ(registry.users(), 2U);
}

TEST(SessionRegistryTest, NamesTheOlderConnectionsOfTheSameDevice) {
  SessionRegistry registry;
  EXPECT_TRUE(registry.add("alice", "phone", 1)->empty());
  EXPECT_TRUE(registry.add("alice", "laptop", 2)->empty());
  EXPECT_EQ(registry.add("alice", "phone", 3), (std::vector<ConnectionRef>{1}));
  EXPECT_EQ(registry.add("alice", "phone", 4), (std::vector<ConnectionRef>{1, 3}));
  EXPECT_TRUE(registry.remove("alice", 1));
  EXPECT_FALSE(registry.remove("alice", 1));
  EXPECT_EQ(sessions_of(registry, "alice"), (std::vector<ConnectionRef>{2, 3, 4}));
}

TEST(SessionRegistryTest, TellGivesWhatWasToldBeforeAndRaisesIt) {
  SessionRegistry registry;
  registry.add("alice", "phone", 1);
  std::vector<ConnectionRef> sessions;
  EXPECT_EQ(registry.tell("alice", InboxPosition(5), sessions), InboxPosition(0));
  EXPECT_EQ(registry.tell("alice", InboxPosition(9), sessions), InboxPosition(5));
  EXPECT_EQ(sessions, (std::vector<ConnectionRef>{1, 1}));
  EXPECT_EQ(registry.told("alice"), InboxPosition(9));
  EXPECT_EQ(registry.tell("bob", InboxPosition(10), sessions), std::nullopt);
}

TEST(SessionRegistryTest, NobodyKeepsCountForAUserWhoIsNotOnline) {
  SessionRegistry registry;
  registry.add("alice", "phone", 1);
  registry.remove("alice", 1);
  EXPECT_EQ(registry.told("alice"), std::nullopt);
  EXPECT_FALSE(registry.online("alice"));
  EXPECT_EQ(registry.users(), 0U);
}

TEST(SessionRegistryTest, WhatAReturningUserWasToldBeginsAboveEverythingTold) {
  SessionRegistry registry;
  registry.add("alice", "phone", 1);
  registry.remove("alice", 1);
  std::vector<ConnectionRef> none;
  EXPECT_EQ(registry.tell("bob", InboxPosition(70), none), std::nullopt);
  registry.add("alice", "phone", 2);
  EXPECT_EQ(registry.told("alice"), InboxPosition(70)) << "an old session that still asks must see that it may have missed something";
}

TEST(SessionRegistryTest, AgreesWithAMapWhileUsersComeAndGo) {
  SessionRegistry registry;
  std::mt19937_64 random(3);
  std::map<std::string, std::set<ConnectionRef>> truth;
  for (ConnectionRef step = 1; step < 30000; ++step) {
    const std::string user = "user" + std::to_string(random() % 700);
    auto& sessions = truth[user];
    if (sessions.empty() || random() % 2 == 0) {
      registry.add(user, std::to_string(step), step);
      sessions.insert(step);
    } else {
      EXPECT_TRUE(registry.remove(user, *sessions.begin()));
      sessions.erase(sessions.begin());
    }
    if (step % 10000 != 0) continue;
    for (const auto& [name, expected] : truth) {
      const auto got = sessions_of(registry, name);
      EXPECT_EQ(std::set<ConnectionRef>(got.begin(), got.end()), expected);
    }
  }
}

TEST(SessionRegistryTest, ASessionCostsAtMost150Bytes) {
  SessionRegistry registry;
  constexpr std::size_t kUsers = 100'000;
  for (std::size_t i = 0; i < kUsers; ++i) registry.add("user-name-" + std::to_string(i), "device", i + 1);
  constexpr std::size_t kMallocOverhead = 16;
  EXPECT_LE(registry.memory_bytes() / kUsers + kMallocOverhead, 150U);
}

TEST(SessionRegistryTest, ManyThreadsAddTellAndRemove) {
  SessionRegistry registry;
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&registry, t] {
      std::mt19937_64 random(t);
      std::vector<ConnectionRef> found;
      for (std::uint64_t i = 1; i < 5000; ++i) {
        const std::string user = "u" + std::to_string(random() % 50);
        const ConnectionRef ref = t << 54 | i;
        registry.add(user, "d" + std::to_string(t), ref);
        found.clear();
        EXPECT_TRUE(registry.tell(user, InboxPosition(i), found).has_value());
        EXPECT_NE(std::ranges::find(found, ref), found.end());
        EXPECT_TRUE(registry.remove(user, ref));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(registry.users(), 0U);
}

TEST(SessionRegistryTest, AUserIsFullAtItsBoundAndNotBefore) {
  SessionRegistry registry;
  for (std::size_t i = 0; i < SessionRegistry::kMaxSessions; ++i) ASSERT_TRUE(registry.add("alice", "d" + std::to_string(i), i + 1));
  EXPECT_FALSE(registry.add("alice", "d0", 9999));
  EXPECT_TRUE(registry.add("bob", "d0", 9999));
  EXPECT_TRUE(registry.remove("alice", 1));
  EXPECT_TRUE(registry.add("alice", "one more", 10'000));
  EXPECT_FALSE(registry.add("alice", "too many", 10'001));
}

TEST(SessionRegistryTest, TheBoundOfAUserHoldsExactlyWhoeverAddsAtOnce) {
  SessionRegistry registry;
  std::atomic<std::size_t> added{0};
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (std::uint64_t i = 0; i < 1000; ++i) {
        if (registry.add("alice", "d", (t << 32) + i + 1)) ++added;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(added, SessionRegistry::kMaxSessions);
}

TEST(SessionRegistryTest, NamesTheSessionsOfOneDevice) {
  SessionRegistry registry;
  EXPECT_TRUE(registry.sessions_of("alice", "phone").empty());
  ASSERT_TRUE(registry.add("alice", "phone", 1));
  ASSERT_TRUE(registry.add("alice", "laptop", 2));
  ASSERT_TRUE(registry.add("alice", "phone", 3));
  EXPECT_EQ(registry.sessions_of("alice", "phone"), (std::vector<ConnectionRef>{1, 3}));
  EXPECT_TRUE(registry.online("alice", "phone"));
  EXPECT_FALSE(registry.online("alice", "tablet"));
  EXPECT_TRUE(registry.sessions_of("alice", "phon").empty());
  EXPECT_TRUE(registry.sessions_of("bob", "phone").empty());
  EXPECT_TRUE(registry.remove("alice", 1));
  EXPECT_EQ(registry.sessions_of("alice", "phone"), (std::vector<ConnectionRef>{3}));
  EXPECT_TRUE(registry.online("alice", "phone"));
  EXPECT_TRUE(registry.remove("alice", 3));
  EXPECT_FALSE(registry.online("alice", "phone"));
}

}  // namespace
}  // namespace dunlin

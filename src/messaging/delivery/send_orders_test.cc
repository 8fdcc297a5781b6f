#include "messaging/delivery/send_orders.h"

#include <gtest/gtest.h>

#include <random>
#include <set>
#include <string>
#include <vector>

namespace dunlin {
namespace {

TEST(SendOrdersTest, AdmitsEverythingWhileNothingWasRefused) {
  SendOrders orders;
  const SessionKey session = SessionKey::random();
  orders.begin(session);
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(orders.admit(session, "c", std::to_string(i), false));
}

TEST(SendOrdersTest, RefusesLaterSendsToTheConversationUntilTheRefusedIdComesAgain) {
  SendOrders orders;
  const SessionKey session = SessionKey::random();
  orders.begin(session);
  orders.block(session, "c", "m1");
  EXPECT_FALSE(orders.admit(session, "c", "m2", false));
  EXPECT_FALSE(orders.admit(session, "c", "m3", false));
  EXPECT_TRUE(orders.admit(session, "other", "m2", false));
  EXPECT_TRUE(orders.admit(session, "c", "m1", false));
  EXPECT_TRUE(orders.admit(session, "c", "m2", false));
}

TEST(SendOrdersTest, KeepsTheFirstRefusedIdWhenABatchIsRefused) {
  SendOrders orders;
  const SessionKey session = SessionKey::random();
  orders.begin(session);
  orders.block(session, "c", "m1");
  orders.block(session, "c", "m2");
  EXPECT_FALSE(orders.admit(session, "c", "m2", false));
  EXPECT_TRUE(orders.admit(session, "c", "m1", false));
}

TEST(SendOrdersTest, AbandonLiftsTheBlock) {
  SendOrders orders;
  const SessionKey session = SessionKey::random();
  orders.begin(session);
  orders.block(session, "c", "m1");
  EXPECT_TRUE(orders.admit(session, "c", "m5", true));
  EXPECT_TRUE(orders.admit(session, "c", "m6", false));
}

TEST(SendOrdersTest, ABlockConcernsOnlyItsSession) {
  SendOrders orders;
  const SessionKey a = SessionKey::random();
  const SessionKey b = SessionKey::random();
  orders.begin(a);
  orders.begin(b);
  orders.block(a, "c", "m1");
  EXPECT_TRUE(orders.admit(b, "c", "m2", false));
  orders.end(a);
  orders.begin(a);
  EXPECT_TRUE(orders.admit(a, "c", "m2", false));
}

TEST(SendOrdersTest, BeyondTheBoundAllOtherConversationsShareOneBlock) {
  SendOrders orders;
  const SessionKey session = SessionKey::random();
  orders.begin(session);
  for (std::size_t i = 0; i < SendOrders::kMaxBlocked + 5; ++i) orders.block(session, "c" + std::to_string(i), "m" + std::to_string(i));
  const std::string first_of_others = "m" + std::to_string(SendOrders::kMaxBlocked);
  EXPECT_FALSE(orders.admit(session, "elsewhere", "x", false));
  EXPECT_FALSE(orders.admit(session, "c3", "x", false));
  EXPECT_TRUE(orders.admit(session, "c3", "m3", false));
  EXPECT_TRUE(orders.admit(session, "c" + std::to_string(SendOrders::kMaxBlocked), first_of_others, false));
  EXPECT_TRUE(orders.admit(session, "elsewhere", "x", false));
}

TEST(SendOrdersTest, NumbersOfTheOpenSessionAreNewOnce) {
  SendOrders orders;
  const SessionKey session = SessionKey::random();
  orders.begin(session);
  EXPECT_TRUE(orders.take_number(session, NumberedMsgId{session, 1}));
  EXPECT_FALSE(orders.take_number(session, NumberedMsgId{session, 1}));
  EXPECT_TRUE(orders.take_number(session, NumberedMsgId{session, 7}));
  EXPECT_FALSE(orders.take_number(session, NumberedMsgId{session, 5}));
  EXPECT_FALSE(orders.take_number(session, std::nullopt));
}

TEST(SendOrdersTest, NumbersThatAnotherSessionUsedAreNotNew) {
  SendOrders orders;
  const SessionKey mine = SessionKey::random();
  const SessionKey other = SessionKey::random();
  orders.begin(mine);
  orders.begin(other);
  EXPECT_FALSE(orders.take_number(other, NumberedMsgId{mine, 5}));
  EXPECT_FALSE(orders.take_number(mine, NumberedMsgId{mine, 5}));
  EXPECT_TRUE(orders.take_number(mine, NumberedMsgId{mine, 6}));
}

TEST(SendOrdersTest, NumbersOfSessionsThatAreNotOpenAreNotNew) {
  SendOrders orders;
  const SessionKey session = SessionKey::random();
  EXPECT_FALSE(orders.take_number(session, NumberedMsgId{session, 1}));
  orders.begin(session);
  orders.end(session);
  EXPECT_FALSE(orders.take_number(session, NumberedMsgId{session, 2}));
}

TEST(SendOrdersTest, KeepsThousandsOfOrdersApartWhileSessionsComeAndGo) {
  SendOrders orders;
  std::mt19937_64 random(7);
  std::vector<SessionKey> open;
  for (int step = 0; step < 20000; ++step) {
    if (open.empty() || random() % 3 != 0) {
      // Few distinct low bits, so that probes collide and wrap.
      const SessionKey session{random(), random() & 0xfff000000000000fULL};
      orders.begin(session);
      EXPECT_TRUE(orders.take_number(session, NumberedMsgId{session, 1}));
      open.push_back(session);
    } else {
      const std::size_t i = random() % open.size();
      EXPECT_FALSE(orders.take_number(open[i], NumberedMsgId{open[i], 1}));
      orders.end(open[i]);
      EXPECT_FALSE(orders.take_number(open[i], NumberedMsgId{open[i], 2}));
      open[i] = open.back();
      open.pop_back();
    }
    if (open.size() > 300) {
      for (const SessionKey& session : open) orders.end(session);
      open.clear();
    }
  }
  EXPECT_EQ(orders.size(), open.size());
}

}  // namespace
}  // namespace dunlin

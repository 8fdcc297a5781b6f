#include "messaging/delivery/send_lanes.h"

#include <gtest/gtest.h>

#include <random>
#include <set>
#include <string>
#include <vector>

namespace dunlin {
namespace {

TEST(SendLanesTest, AdmitsEverythingWhileNothingWasRefused) {
  SendLanes lanes;
  const SessionKey session = SessionKey::random();
  lanes.begin(session);
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(lanes.admit(session, "c", std::to_string(i), false));
}

TEST(SendLanesTest, RefusesLaterSendsToTheConversationUntilTheRefusedIdComesAgain) {
  SendLanes lanes;
  const SessionKey session = SessionKey::random();
  lanes.begin(session);
  lanes.block(session, "c", "m1");
  EXPECT_FALSE(lanes.admit(session, "c", "m2", false));
  EXPECT_FALSE(lanes.admit(session, "c", "m3", false));
  EXPECT_TRUE(lanes.admit(session, "other", "m2", false));
  EXPECT_TRUE(lanes.admit(session, "c", "m1", false));
  EXPECT_TRUE(lanes.admit(session, "c", "m2", false));
}

TEST(SendLanesTest, KeepsTheFirstRefusedIdWhenABatchIsRefused) {
  SendLanes lanes;
  const SessionKey session = SessionKey::random();
  lanes.begin(session);
  lanes.block(session, "c", "m1");
  lanes.block(session, "c", "m2");
  EXPECT_FALSE(lanes.admit(session, "c", "m2", false));
  EXPECT_TRUE(lanes.admit(session, "c", "m1", false));
}

TEST(SendLanesTest, AbandonLiftsTheBlock) {
  SendLanes lanes;
  const SessionKey session = SessionKey::random();
  lanes.begin(session);
  lanes.block(session, "c", "m1");
  EXPECT_TRUE(lanes.admit(session, "c", "m5", true));
  EXPECT_TRUE(lanes.admit(session, "c", "m6", false));
}

TEST(SendLanesTest, ABlockConcernsOnlyItsSession) {
  SendLanes lanes;
  const SessionKey a = SessionKey::random();
  const SessionKey b = SessionKey::random();
  lanes.begin(a);
  lanes.begin(b);
  lanes.block(a, "c", "m1");
  EXPECT_TRUE(lanes.admit(b, "c", "m2", false));
  lanes.end(a);
  lanes.begin(a);
  EXPECT_TRUE(lanes.admit(a, "c", "m2", false));
}

TEST(SendLanesTest, BeyondTheBoundAllOtherConversationsShareOneBlock) {
  SendLanes lanes;
  const SessionKey session = SessionKey::random();
  lanes.begin(session);
  for (std::size_t i = 0; i < SendLanes::kMaxBlocked + 5; ++i) lanes.block(session, "c" + std::to_string(i), "m" + std::to_string(i));
  const std::string first_of_others = "m" + std::to_string(SendLanes::kMaxBlocked);
  EXPECT_FALSE(lanes.admit(session, "elsewhere", "x", false));
  EXPECT_FALSE(lanes.admit(session, "c3", "x", false));
  EXPECT_TRUE(lanes.admit(session, "c3", "m3", false));
  EXPECT_TRUE(lanes.admit(session, "c" + std::to_string(SendLanes::kMaxBlocked), first_of_others, false));
  EXPECT_TRUE(lanes.admit(session, "elsewhere", "x", false));
}

TEST(SendLanesTest, NumbersOfTheOpenSessionAreNewOnce) {
  SendLanes lanes;
  const SessionKey session = SessionKey::random();
  lanes.begin(session);
  EXPECT_TRUE(lanes.take_number(session, NumberedMsgId{session, 1}));
  EXPECT_FALSE(lanes.take_number(session, NumberedMsgId{session, 1}));
  EXPECT_TRUE(lanes.take_number(session, NumberedMsgId{session, 7}));
  EXPECT_FALSE(lanes.take_number(session, NumberedMsgId{session, 5}));
  EXPECT_FALSE(lanes.take_number(session, std::nullopt));
}

TEST(SendLanesTest, NumbersThatAnotherSessionUsedAreNotNew) {
  SendLanes lanes;
  const SessionKey mine = SessionKey::random();
  const SessionKey other = SessionKey::random();
  lanes.begin(mine);
  lanes.begin(other);
  EXPECT_FALSE(lanes.take_number(other, NumberedMsgId{mine, 5}));
  EXPECT_FALSE(lanes.take_number(mine, NumberedMsgId{mine, 5}));
  EXPECT_TRUE(lanes.take_number(mine, NumberedMsgId{mine, 6}));
}

TEST(SendLanesTest, NumbersOfSessionsThatAreNotOpenAreNotNew) {
  SendLanes lanes;
  const SessionKey session = SessionKey::random();
  EXPECT_FALSE(lanes.take_number(session, NumberedMsgId{session, 1}));
  lanes.begin(session);
  lanes.end(session);
  EXPECT_FALSE(lanes.take_number(session, NumberedMsgId{session, 2}));
}

TEST(SendLanesTest, KeepsThousandsOfLanesApartWhileSessionsComeAndGo) {
  SendLanes lanes;
  std::mt19937_64 random(7);
  std::vector<SessionKey> open;
  for (int step = 0; step < 20000; ++step) {
    if (open.empty() || random() % 3 != 0) {
      // Few distinct low bits, so that probes collide and wrap.
      const SessionKey session{random(), random() & 0xfff000000000000fULL};
      lanes.begin(session);
      EXPECT_TRUE(lanes.take_number(session, NumberedMsgId{session, 1}));
      open.push_back(session);
    } else {
      const std::size_t i = random() % open.size();
      EXPECT_FALSE(lanes.take_number(open[i], NumberedMsgId{open[i], 1}));
      lanes.end(open[i]);
      EXPECT_FALSE(lanes.take_number(open[i], NumberedMsgId{open[i], 2}));
      open[i] = open.back();
      open.pop_back();
    }
    if (open.size() > 300) {
      for (const SessionKey& session : open) lanes.end(session);
      open.clear();
    }
  }
  EXPECT_EQ(lanes.size(), open.size());
}

}  // namespace
}  // namespace dunlin

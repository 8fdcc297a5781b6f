#include "session/departures.h"

#include <gtest/gtest.h>

#include "session/testing/one_host.h"

namespace dunlin {
namespace {

struct DeparturesTest : testing::Test {
  // Of DeviceRules::patience, and a tick of the timers.
  void pass_the_deadline() { on.pass(on.options->devices.patience + Milliseconds(100)); }
  bool connected(std::size_t client) { return on.hear(client).find(R"("session":)") != std::string::npos; }
  static bool says(const std::string& heard, std::string_view text) { return heard.find(text) != std::string::npos; }

  OneHost on;
};

TEST_F(DeparturesTest, TheNewerSessionOfADeviceBeginsWhenAllThatTheOlderHasSentIsSettled) {
  const std::size_t older = on.connect("alice", "phone");
  ASSERT_TRUE(connected(older));
  on.send(older, "bob", "m1");
  const std::size_t newer = on.connect("alice", "phone");
  on.pass(Milliseconds(1000));
  EXPECT_EQ(on.hear(newer), "");
  EXPECT_EQ(on.hear(older), "");
  on.answer_sends();
  const std::string heard = on.hear(older);
  EXPECT_TRUE(says(heard, R"("seq":1)") && says(heard, R"("name":"replaced")")) << heard;
  EXPECT_TRUE(connected(newer));
  EXPECT_EQ(on.host->departures().waiting(), 0U);
}

TEST_F(DeparturesTest, ASessionWhosePlaceIsWantedIsClosedAtTheDeadlineThoughItsSendsDoNotSettle) {
  const std::size_t older = on.connect("alice", "phone");
  ASSERT_TRUE(connected(older));
  on.send(older, "bob", "m1");
  const std::size_t newer = on.connect("alice", "phone");
  pass_the_deadline();
  EXPECT_TRUE(says(on.hear(newer), R"("name":"timeout")"));
  EXPECT_TRUE(says(on.hear(older), R"("name":"replaced")"));
  EXPECT_EQ(on.registry.sessions_of("alice", "phone").size(), 1U) << "what it has sent is not settled yet: it is still there";
  on.answer_sends();
  EXPECT_TRUE(on.registry.sessions_of("alice", "phone").empty());
  EXPECT_TRUE(connected(on.connect("alice", "phone")));
}

TEST_F(DeparturesTest, WhoWaitsForSendsThatDoNotSettleIsKeptUntilTheDeadlineOnly) {
  const std::size_t gone = on.connect("alice", "phone");
  ASSERT_TRUE(connected(gone));
  on.send(gone, "bob", "m1");
  on.cut("alice", "phone");
  for (int i = 0; i < 20; ++i) {
    const std::size_t again = on.connect("alice", "phone");
    EXPECT_EQ(on.host->departures().waiting(), 1U);
    pass_the_deadline();
    EXPECT_TRUE(says(on.hear(again), R"("name":"timeout")"));
    EXPECT_EQ(on.host->departures().waiting(), 0U) << "after " << i;
  }
  // Those who came at different times go at different times.
  on.connect("alice", "phone");
  on.pass(Milliseconds(2000));
  const std::size_t last = on.connect("alice", "phone");
  on.pass(Milliseconds(2500));
  EXPECT_EQ(on.host->departures().waiting(), 1U);
  on.answer_sends();
  EXPECT_EQ(on.host->departures().waiting(), 0U);
  EXPECT_TRUE(connected(last));
}

TEST_F(DeparturesTest, ALogoutWhoseSendsDoNotSettleEndsAtTheDeadlineAndGivesTheUsersTurnOn) {
  const std::size_t phone = on.connect("alice", "phone");
  ASSERT_TRUE(connected(phone));
  on.send(phone, "bob", "m1");
  on.say(phone, R"({"id":3,"logout":{}})");
  EXPECT_EQ(on.device_turns.users(), 1U);
  pass_the_deadline();
  const std::string heard = on.hear(phone);
  EXPECT_TRUE(says(heard, R"("id":3,"error")") && says(heard, R"("name":"timeout")")) << heard;
  EXPECT_EQ(on.device_turns.users(), 0U);
  EXPECT_TRUE(connected(on.connect("alice", "tablet")));
  EXPECT_EQ(on.registry.sessions_of("alice", "phone").size(), 1U);
  on.answer_sends();
  EXPECT_TRUE(on.registry.sessions_of("alice", "phone").empty());
}

// A worker that stops ends what waits, with nothing left behind.
TEST_F(DeparturesTest, StopEndsThoseWhoWait) {
  const std::size_t older = on.connect("alice", "phone");
  ASSERT_TRUE(connected(older));
  on.send(older, "bob", "m1");
  on.connect("alice", "phone");
  on.worker.stop();
  EXPECT_EQ(on.worker.live_tasks(), 0U);
}

}  // namespace
}  // namespace dunlin

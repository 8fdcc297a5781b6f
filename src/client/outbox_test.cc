#include "client/outbox.h"

#include <gtest/gtest.h>

#include <vector>

namespace dunlin::client {
namespace {

using namespace std::chrono_literals;

class OutboxTest : public ::testing::Test {
 protected:
  struct Sent {
    wire::RequestId id;
    std::string to;
    std::string body;
    std::string client_msg_id;
  };

  void add(const std::string& to, const std::string& body) { outbox.add({to, body, {}}); }

  // Everything that may go out now.
  std::vector<Sent> send() {
    std::vector<Sent> all;
    while (const auto attempt = outbox.next(clock.monotonic(), [this] { return ++last_id; })) {
      all.push_back({attempt->id, attempt->message->to, attempt->message->body, attempt->message->client_msg_id});
    }
    return all;
  }

  Outbox outbox;
  ManualClock clock;
  wire::RequestId last_id = 10;
};

TEST_F(OutboxTest, MessagesGoOutInOrderWithNumberedIds) {
  outbox.on_connected("S");
  add("bob", "1");
  add("bob", "2");
  const auto sent = send();
  ASSERT_EQ(sent.size(), 2u);
  EXPECT_EQ(sent[0].body, "1");
  EXPECT_EQ(sent[0].client_msg_id, "S-1");
  EXPECT_EQ(sent[1].client_msg_id, "S-2");
  EXPECT_TRUE(send().empty());
}

TEST_F(OutboxTest, ReconnectRepeatsWhatIsNotSettledWithItsOldIds) {
  outbox.on_connected("S");
  add("bob", "1");
  add("bob", "2");
  const auto first = send();
  EXPECT_TRUE(outbox.on_stored(first[0].id));
  outbox.on_connected("T");
  add("bob", "3");
  const auto again = send();
  ASSERT_EQ(again.size(), 2u);
  EXPECT_EQ(again[0].body, "2");
  EXPECT_EQ(again[0].client_msg_id, "S-2");
  EXPECT_NE(again[0].id, first[1].id);
  EXPECT_EQ(again[1].client_msg_id, "T-1");
  EXPECT_FALSE(outbox.on_stored(first[1].id)) << "an answer to the attempt before the reconnect settles nothing";
}

TEST_F(OutboxTest, TemporaryRefusalHoldsBackLaterMessagesOfThatConversationOnly) {
  outbox.on_connected("S");
  add("bob", "1");
  add("bob", "2");
  add("eve", "3");
  const auto first = send();
  const auto retry_at = clock.monotonic() + 100ms;
  EXPECT_FALSE(outbox.on_refused(first[0].id, true, retry_at));
  EXPECT_FALSE(outbox.on_refused(first[1].id, true, clock.monotonic() + 1ms));  // retry_in_order
  EXPECT_TRUE(outbox.on_stored(first[2].id));
  EXPECT_EQ(outbox.next_retry(), clock.monotonic() + 1ms);
  clock.advance(50ms);
  EXPECT_TRUE(send().empty());
  clock.advance(50ms);
  const auto again = send();
  ASSERT_EQ(again.size(), 2u);
  EXPECT_EQ(again[0].body, "1");
  EXPECT_EQ(again[0].client_msg_id, "S-1");
  EXPECT_EQ(again[1].body, "2");
  EXPECT_FALSE(outbox.next_retry());
}

TEST_F(OutboxTest, RefusalForGoodTakesTheMessageOut) {
  outbox.on_connected("S");
  add("bob", "1");
  add("bob", "2");
  const auto sent = send();
  const auto refused = outbox.on_refused(sent[0].id, false, {});
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->body, "1");
  EXPECT_TRUE(outbox.on_stored(sent[1].id));
  EXPECT_TRUE(outbox.empty());
}

TEST_F(OutboxTest, UnknownAnswerChangesNothing) {
  outbox.on_connected("S");
  add("bob", "1");
  const auto sent = send();
  EXPECT_FALSE(outbox.on_stored(999));
  EXPECT_FALSE(outbox.on_refused(999, false, {}));
  EXPECT_TRUE(outbox.holds(sent[0].id));
}

}  // namespace
}  // namespace dunlin::client

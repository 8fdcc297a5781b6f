#include "messaging/model/message.h"

#include <gtest/gtest.h>

namespace dunlin {
namespace {

TEST(MessageTest, ARecalledOneKeepsItsPlaceAndLosesItsContent) {
  MessageDraft draft;
  draft.conversation = "p3:ada:bob";
  draft.sender = "ada";
  draft.client_msg_id = "m1";
  draft.content_type = "text/plain";
  draft.body = "hi";
  const MessagePtr message = Message::create(draft);
  message->set_place({MessageSeq(2), LogPosition(300), LogPosition(297), 1'700'000'000'000, 7, 1});
  EXPECT_FALSE(message->is_recalled());

  const MessagePtr left = Message::recalled(*message);
  EXPECT_TRUE(left->is_recalled());
  EXPECT_EQ(left->conversation(), "p3:ada:bob");
  EXPECT_EQ(left->sender(), "ada");
  EXPECT_EQ(left->client_msg_id(), "m1");
  EXPECT_EQ(left->content_type(), "");
  EXPECT_EQ(left->body(), "");
  EXPECT_EQ(left->seq(), MessageSeq(2));
  EXPECT_EQ(left->place().position, LogPosition(300));
  EXPECT_EQ(left->place().previous, LogPosition(297));
  EXPECT_EQ(left->place().time_ms, 1'700'000'000'000u);
  EXPECT_EQ(left->place().conversation_number, 7u);
  EXPECT_EQ(left->place().first_user_count, 1u);
  EXPECT_EQ(left->footprint(), message->footprint() - draft.content_type.size() - draft.body.size());
  EXPECT_EQ(message->body(), "hi");  // whoever still holds it reads what it was
}

}  // namespace
}  // namespace dunlin

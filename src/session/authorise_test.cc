#include "session/authorise.h"

#include <gtest/gtest.h>

#include "messaging/model/conversation.h"

namespace dunlin {
namespace {

TEST(AuthoriseTest, AnyUserMayBeWrittenToOneselfIncluded) {
  auto bob = authorise("alice", {.user = "bob", .conversation = {}});
  ASSERT_TRUE(bob.ok());
  EXPECT_EQ(bob->conversation(), private_conversation("alice", "bob"));
  EXPECT_EQ(bob->peer(), "bob");
  auto self = authorise("alice", {.user = "alice", .conversation = {}});
  ASSERT_TRUE(self.ok());
  EXPECT_EQ(self->peer(), "alice");
}

TEST(AuthoriseTest, BothUsersOfAPrivateConversationMayUseIt) {
  const ConversationId id = private_conversation("alice", "bob");
  auto alice = authorise("alice", {.user = {}, .conversation = id.view()});
  ASSERT_TRUE(alice.ok());
  EXPECT_EQ(alice->peer(), "bob");
  auto bob = authorise("bob", {.user = {}, .conversation = id.view()});
  ASSERT_TRUE(bob.ok());
  EXPECT_EQ(bob->peer(), "alice");
}

TEST(AuthoriseTest, NobodyElseMay) {
  const ConversationId id = private_conversation("alice", "bob");
  for (std::string_view user : {"carol", "alic", "alicee", "bobb", "p", "alice:bob"}) {
    auto access = authorise(user, {.user = {}, .conversation = id.view()});
    ASSERT_FALSE(access.ok()) << user;
    EXPECT_EQ(access.error().code(), ErrorCode::Forbidden);
  }
}

TEST(AuthoriseTest, StringsThatAreNoConversationAreNotFound) {
  for (std::string_view text : {"x", "p5:alice", "p3:alice:bob", "p05:alice:bob", "p5:bob:alice:", "g1"}) {
    auto access = authorise("alice", {.user = {}, .conversation = text});
    ASSERT_FALSE(access.ok()) << text;
    EXPECT_EQ(access.error().code(), ErrorCode::NotFound) << text;
  }
}

TEST(AuthoriseTest, AccessSurvivesAMove) {
  auto access = authorise("alice", {.user = "b", .conversation = {}});
  ASSERT_TRUE(access.ok());
  const ConversationAccess moved = std::move(access).value();
  EXPECT_EQ(moved.peer(), "b");
}

}  // namespace
}  // namespace dunlin

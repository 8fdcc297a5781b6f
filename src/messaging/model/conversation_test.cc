#include "messaging/model/conversation.h"

#include <gtest/gtest.h>

#include <string>

namespace dunlin {
namespace {

TEST(PrivateConversationTest, IsTheSameFromBothSides) {
  EXPECT_EQ(private_conversation("bob", "alice"), private_conversation("alice", "bob"));
  EXPECT_EQ(private_conversation("alice", "bob").view(), "p5:alice:bob");
}

TEST(PrivateConversationTest, TellsItsUsersWhateverTheyAreCalled) {
  for (const auto& [a, b] : {std::pair<std::string, std::string>{"a", "b"},
                             {":", "::"},
                             {"1:2", "p3"},
                             {"é", "日本"},
                             {"me", "me"},
                             {std::string(64, 'x'), std::string(64, 'y')}}) {
    const ConversationId id = private_conversation(a, b);
    const auto pair = parse_private(id.view());
    ASSERT_TRUE(pair) << id.view();
    EXPECT_TRUE(pair->has(a) && pair->has(b));
    EXPECT_EQ(pair->peer_of(a), b);
    EXPECT_EQ(pair->peer_of(b), a);
  }
}

TEST(PrivateConversationTest, RefusesWhatItNeverGives) {
  for (const char* id : {"", "p", "p5:alice", "p5:alice:", "p3:bob:alice", "p05:alice:bob", "p-1:a:b", "p6:alice:bob", "g5:alice:bob",
                         "p99:a:b", "p18446744073709551615:a:b", "p0::b", "p1:a:b\n"}) {
    EXPECT_FALSE(parse_private(id)) << id;
  }
  EXPECT_FALSE(parse_private("p1:a:" + std::string(65, 'b')));
}

}  // namespace
}  // namespace dunlin

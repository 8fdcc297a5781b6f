#include "messaging/delivery/own_messages.h"

#include <gtest/gtest.h>

#include <string>

namespace dunlin {
namespace {

constexpr std::size_t kMaxBytes = 32 * 1024;

TEST(OwnMessagesTest, KnowsWhatWasAddedUntilItIsDropped) {
  OwnMessages own(kMaxBytes);
  for (const std::uint64_t seq : {3, 4, 5, 9, 11}) EXPECT_TRUE(own.add("c", MessageSeq(seq)));
  for (std::uint64_t seq = 1; seq <= 12; ++seq) {
    EXPECT_EQ(own.contains("c", MessageSeq(seq)), (seq >= 3 && seq <= 5) || seq == 9 || seq == 11) << seq;
  }
  EXPECT_FALSE(own.contains("d", MessageSeq(3)));
  own.drop_through("c", MessageSeq(4));
  EXPECT_TRUE(own.contains("c", MessageSeq(5)));
  own.drop_through("c", MessageSeq(9));
  EXPECT_FALSE(own.contains("c", MessageSeq(9)));
  EXPECT_TRUE(own.contains("c", MessageSeq(11)));
  own.drop_through("c", MessageSeq(11));
  EXPECT_TRUE(own.empty());
}

TEST(OwnMessagesTest, TheAnswerToARepeatIsNoNewRun) {
  OwnMessages own(kMaxBytes);
  EXPECT_TRUE(own.add("c", MessageSeq(7)));
  EXPECT_TRUE(own.add("c", MessageSeq(9)));
  EXPECT_TRUE(own.add("c", MessageSeq(7)));
  EXPECT_FALSE(own.add("c", MessageSeq(2))) << "of an earlier session";
  EXPECT_FALSE(own.contains("c", MessageSeq(8)));
}

TEST(OwnMessagesTest, BeyondItsBoundItKeepsNoMoreAndHasRoomAgainLater) {
  OwnMessages own(kMaxBytes);
  std::uint64_t kept = 0;
  while (own.add("c", MessageSeq(2 * kept + 1))) ++kept;
  EXPECT_GT(kept, kMaxBytes / 16 - 16);
  EXPECT_LE(kept, kMaxBytes / 16);
  EXPECT_FALSE(own.add("other", MessageSeq(1)));
  EXPECT_TRUE(own.add("c", MessageSeq(2 * kept))) << "it makes a run longer";
  own.drop_through("c", MessageSeq(1000));
  EXPECT_TRUE(own.add("other", MessageSeq(1)));
  own.keep_only([](const std::string& conversation) { return conversation == "other"; });
  EXPECT_TRUE(own.contains("other", MessageSeq(1)));
  EXPECT_FALSE(own.contains("c", MessageSeq(2 * kept)));
  own.keep_only([](const std::string&) { return false; });
  EXPECT_TRUE(own.empty());
  for (std::uint64_t i = 0; i < kept; ++i) EXPECT_TRUE(own.add("c", MessageSeq(2 * i + 1))) << "all of its room is there again";
}

}  // namespace
}  // namespace dunlin

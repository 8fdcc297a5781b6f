#include "messaging/delivery/sync_token.h"

#include <gtest/gtest.h>

namespace dunlin {
namespace {

const SyncTokenMinter kMinter(SipKey{1, 2});

SyncToken token() {
  return {.epoch = Epoch{0xabcdef},
          .position = InboxPosition(77),
          .listed = InboxPosition(99),
          .minted = from_ms(1'700'000'040'000),
          .run = 0x123456789abc};
}

TEST(SyncTokenMinterTest, GivesBackWhatItMinted) {
  const std::string text = kMinter.mint(token(), "alice", "d1");
  EXPECT_EQ(text.size(), 68u);
  const auto parsed = kMinter.parse(text, "alice", "d1");
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->epoch, token().epoch);
  EXPECT_EQ(parsed->position, token().position);
  EXPECT_EQ(parsed->listed, token().listed);
  EXPECT_EQ(parsed->run, token().run);
  EXPECT_EQ(parsed->minted, from_ms(1'700'000'040'000 / 60'000 * 60'000));
}

TEST(SyncTokenMinterTest, KnowsTheTokensOfBeforeThereWereRuns) {
  constexpr std::string_view kOld = "AQAAAAAAq83vAAAAAAAAAE0AAAAAAAAAYwGwVRb95iApHzrMusQJEEaZ3Fhk";
  const auto parsed = kMinter.parse(kOld, "alice", "d1");
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->position, token().position);
  EXPECT_EQ(parsed->listed, token().listed);
  EXPECT_EQ(parsed->run, 0u);
  EXPECT_EQ(kMinter.mint(*parsed, "alice", "d1"), kOld);
}

TEST(SyncTokenMinterTest, MayPromiseNothingAboutAcks) {
  SyncToken listed_only = token();
  listed_only.position.reset();
  const auto parsed = kMinter.parse(kMinter.mint(listed_only, "alice", "d1"), "alice", "d1");
  ASSERT_TRUE(parsed);
  EXPECT_FALSE(parsed->position);
}

TEST(SyncTokenMinterTest, BelongsToItsUserAndDevice) {
  const std::string text = kMinter.mint(token(), "alice", "d1");
  EXPECT_FALSE(kMinter.parse(text, "alice", "d2"));
  EXPECT_FALSE(kMinter.parse(text, "bob", "d1"));
  EXPECT_FALSE(kMinter.parse(text, "aliced", "1"));
}

TEST(SyncTokenMinterTest, RefusesEveryChangedCharacter) {
  const std::string text = kMinter.mint(token(), "alice", "d1");
  for (std::size_t i = 0; i < text.size(); ++i) {
    std::string forged = text;
    forged[i] = forged[i] == 'A' ? 'B' : 'A';
    EXPECT_FALSE(kMinter.parse(forged, "alice", "d1")) << i;
  }
}

TEST(SyncTokenMinterTest, RefusesOtherKeysAndOtherTexts) {
  const std::string text = kMinter.mint(token(), "alice", "d1");
  EXPECT_FALSE(SyncTokenMinter(SipKey{1, 3}).parse(text, "alice", "d1"));
  for (std::string_view other : {"", "%%%", "AAAA"}) EXPECT_FALSE(kMinter.parse(other, "alice", "d1"));
  EXPECT_FALSE(kMinter.parse(text + "A", "alice", "d1"));
  EXPECT_FALSE(kMinter.parse(std::string(60, '='), "alice", "d1"));
}

TEST(SyncTokenMinterTest, NamesTheEpochOfATextOfItsFormWhoeverSealedIt) {
  EXPECT_EQ(SyncTokenMinter::claimed_epoch(SyncTokenMinter(SipKey{8, 9}).mint(token(), "alice", "d1")), token().epoch);
  for (std::string_view other : {"", "%%%", "AAAA"}) EXPECT_FALSE(SyncTokenMinter::claimed_epoch(other));
  EXPECT_FALSE(SyncTokenMinter::claimed_epoch(std::string(60, '=')));
  EXPECT_FALSE(SyncTokenMinter::claimed_epoch(std::string(60, 'A'))) << "another version";
}

}  // namespace
}  // namespace dunlin

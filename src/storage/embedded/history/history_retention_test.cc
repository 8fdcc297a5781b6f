#include <gtest/gtest.h>

#include "storage/embedded/history/history.h"
#include "storage/embedded/history/testing/history_scribe.h"

namespace dunlin::embedded {
namespace {

using std::chrono::hours;
using std::chrono::seconds;

class HistoryRetentionTest : public ::testing::Test {
 protected:
  void open() {
    history.reset();
    history = scribe.open();
    ASSERT_TRUE(history) << scribe.last_error.to_string();
  }
  // A volume of its own with one message to each of two conversations, one of which stays silent after the first.
  void write_volume(Milliseconds later) {
    scribe.write("ada", "bob", "x");
    if (scribe.position == 1) scribe.write("ada", "cyn", "only once");
    ASSERT_TRUE(scribe.ingest(*history).ok());
    scribe.clock.advance(later);
  }
  void retain() { ASSERT_TRUE(history->retain(scribe.clock.wall()).ok()); }

  HistoryScribe scribe;
  std::unique_ptr<History> history;
};

TEST_F(HistoryRetentionTest, KeepsEverythingWithoutALimit) {
  open();
  for (int i = 0; i < 5; ++i) write_volume(hours(24 * 365));
  retain();
  EXPECT_EQ(history->trimmed_through(), LogPosition(0));
  EXPECT_EQ(history->stats().volumes, 5u);
}

TEST_F(HistoryRetentionTest, DropsOldVolumesAndSaysTruncated) {
  scribe.options.retention = hours(24 * 3);
  open();
  for (int i = 0; i < 6; ++i) write_volume(hours(25));
  retain();
  // Written 25, 50, 75, ... hours ago: three days keep two.
  EXPECT_EQ(history->stats().volumes, 2u);
  EXPECT_EQ(history->trimmed_through(), LogPosition(5));
  const ConversationId id = private_conversation("ada", "bob");
  const auto head = history->head(id);
  EXPECT_EQ((*head)->first_readable, MessageSeq(5));
  EXPECT_EQ((*head)->last_seq, MessageSeq(6));
  auto query = HistoryScribe::all_of(id);
  for (const bool newest_first : {false, true}) {
    query.newest_first = newest_first;
    const auto page = history->range(**head, query);
    ASSERT_TRUE(page.ok());
    EXPECT_EQ(page->messages.size(), 2u);
    EXPECT_EQ(page->head.first_readable, MessageSeq(5));
    ASSERT_EQ(page->gaps.size(), 1u);
    EXPECT_EQ(page->gaps[0].from, MessageSeq(1));
    EXPECT_EQ(page->gaps[0].to, MessageSeq(4));
    EXPECT_EQ(page->gaps[0].reason, GapReason::Truncated);
    EXPECT_FALSE(page->more);
  }
  EXPECT_TRUE(history->activity_since(UserId("ada"), LogPosition(4), 10)->truncated);
  EXPECT_FALSE(history->activity_since(UserId("ada"), LogPosition(5), 10)->truncated);
  EXPECT_TRUE(history->feed(LogPosition(4), 10)->reset);
  EXPECT_FALSE(history->feed(LogPosition(5), 10)->reset);
  EXPECT_EQ(*history->seq_at(**head, LogPosition(5)), MessageSeq(4));
  EXPECT_EQ(*history->seq_at(**head, LogPosition(2)), MessageSeq(0));
}

TEST_F(HistoryRetentionTest, KeepsTheHeadAndTheListOfAnEmptiedConversation) {
  scribe.options.retention = hours(24);
  open();
  for (int i = 0; i < 3; ++i) write_volume(hours(25));
  retain();
  const ConversationId id = private_conversation("ada", "cyn");
  const auto head = history->head(id);
  ASSERT_TRUE(head.ok() && *head);
  EXPECT_EQ((*head)->last_seq, MessageSeq(1));
  EXPECT_EQ((*head)->first_readable, MessageSeq(2));
  const auto page = history->range(**head, HistoryScribe::all_of(id));
  ASSERT_EQ(page->gaps.size(), 1u);
  EXPECT_EQ(page->gaps[0].reason, GapReason::Truncated);
  EXPECT_EQ(history->conversations(UserId("cyn"), ConversationId(), 10)->conversations.size(), 1u);
}

TEST_F(HistoryRetentionTest, DropsEvenTheOnlyVolumeAndGoesOnAfterIt) {
  scribe.options.retention = seconds(10);
  open();
  write_volume(seconds(30));
  retain();
  EXPECT_EQ(history->stats().volumes, 0u);
  EXPECT_EQ(history->trimmed_through(), LogPosition(2));
  write_volume(seconds(1));
  const auto head = history->head(private_conversation("ada", "bob"));
  EXPECT_EQ((*head)->first_readable, MessageSeq(2));
  open();
  EXPECT_EQ(history->trimmed_through(), LogPosition(2));
  EXPECT_EQ(history->range(**history->head(private_conversation("ada", "bob")), HistoryScribe::all_of(private_conversation("ada", "bob")))
                ->messages.size(),
            1u);
}

TEST_F(HistoryRetentionTest, BoundsTheBytes) {
  scribe.options.retention_bytes = 400 << 10;
  open();
  for (int i = 0; i < 40; ++i) {
    for (int k = 0; k < 30; ++k) scribe.write("ada", "bob", std::string(1000, 'x'));
    ASSERT_TRUE(scribe.ingest(*history).ok());
    scribe.clock.advance(seconds(1));
    retain();
  }
  EXPECT_LE(history->stats().bytes, 2u * (400 << 10));
  EXPECT_GT(history->trimmed_through(), LogPosition(0));
  const auto head = history->head(private_conversation("ada", "bob"));
  const auto page = history->range(**head, HistoryScribe::all_of(private_conversation("ada", "bob")));
  ASSERT_EQ(page->gaps.size(), 1u);
  EXPECT_EQ(page->gaps[0].to.value() + page->messages.size(), 1200u);
}

TEST_F(HistoryRetentionTest, KeepsDedupForADayAfterTheMessageIsTrimmed) {
  scribe.options.retention = seconds(10);
  open();
  const auto message = scribe.write("ada", "bob", "x");
  const DedupKey key = HistoryScribe::dedup_of(*message).key;
  ASSERT_TRUE(scribe.ingest(*history).ok());
  scribe.clock.advance(hours(23));
  retain();
  EXPECT_EQ(history->trimmed_through(), LogPosition(1));
  EXPECT_TRUE(*history->dedup(key));
  open();
  EXPECT_TRUE(*history->dedup(key));
  scribe.clock.advance(hours(2));
  retain();
  EXPECT_FALSE(*history->dedup(key));
}

TEST_F(HistoryRetentionTest, DedupWaitsToExpireWhenTheWallClockJumps) {
  open();
  const auto message = scribe.write("ada", "bob", "x");
  const DedupKey key = HistoryScribe::dedup_of(*message).key;
  ASSERT_TRUE(scribe.ingest(*history).ok());
  scribe.clock.set_wall(scribe.clock.wall() + hours(48));
  retain();
  EXPECT_TRUE(*history->dedup(key)) << "a repeat of an hour ago must still be found";
  scribe.clock.set_wall(scribe.clock.wall() - hours(48));
  scribe.clock.advance(hours(25));
  retain();
  EXPECT_FALSE(*history->dedup(key));
}

TEST_F(HistoryRetentionTest, FewSecondsOfRetentionMakeFewFamilies) {
  scribe.options.retention = seconds(8);
  open();
  for (int i = 0; i < 60; ++i) {
    write_volume(seconds(1));
    retain();
  }
  EXPECT_LE(history->stats().volumes, 10u);
  EXPECT_GE(history->trimmed_through(), LogPosition(50));
}

TEST_F(HistoryRetentionTest, WaitsWhenTheWallClockJumps) {
  scribe.options.retention = hours(24);
  open();
  write_volume(hours(1));
  scribe.clock.set_wall(scribe.clock.wall() + hours(48));
  retain();
  EXPECT_EQ(history->trimmed_through(), LogPosition(0));
  scribe.clock.set_wall(scribe.clock.wall() - hours(48));
  retain();
  EXPECT_EQ(history->trimmed_through(), LogPosition(0));
  scribe.clock.advance(hours(48));
  retain();
  EXPECT_EQ(history->trimmed_through(), LogPosition(2));
}

TEST_F(HistoryRetentionTest, WaitsWhenTheClockIsBehindTheNewestRecord) {
  scribe.options.retention = hours(24);
  open();
  write_volume(hours(30));
  write_volume(hours(0));
  scribe.clock.set_wall(scribe.clock.wall() - hours(2));
  open();  // a restart takes the clock as it is, but the records know better
  retain();
  EXPECT_EQ(history->trimmed_through(), LogPosition(0));
}

TEST_F(HistoryRetentionTest, AReadThatBeganBeforeADropEndsInOrder) {
  scribe.options.retention = hours(24);
  open();
  write_volume(hours(25));
  write_volume(hours(0));
  const ConversationId id = private_conversation("ada", "bob");
  const auto head = history->head(id);  // first_readable is 1 still
  retain();
  const auto page = history->range(**head, HistoryScribe::all_of(id));
  ASSERT_TRUE(page.ok());
  EXPECT_EQ(page->head.first_readable, MessageSeq(2));
  EXPECT_EQ(page->gaps.size(), 1u);
  EXPECT_EQ(page->messages.size(), 1u);
}

}  // namespace
}  // namespace dunlin::embedded

#include <gtest/gtest.h>

#include <string>

#include "storage/embedded/history/history_scribe.h"

namespace dunlin::embedded {
namespace {

RecalledRecord record_of(const Message& message) {
  return {message.place().conversation_number, message.seq(), message.position()};
}

class HistoryEraseTest : public ::testing::Test {
 protected:
  // As the log does it: the record in the segment has no content any more.
  void ingest_recalled(History& history, const MessagePtr& message) {
    SealedSegment segment = scribe_.seal();
    for (auto& record : scribe_.sealed) {
      if (record->position() == message->position()) record = Message::recalled(*record);
    }
    ASSERT_TRUE(history.ingest(segment).ok());
  }

  RangePage all(History& history, bool newest_first = false) {
    RangeQuery query = HistoryScribe::all_of(pair_);
    query.newest_first = newest_first;
    auto page = history.range(scribe_.heads[pair_], query);
    EXPECT_TRUE(page.ok());
    return page.ok() ? std::move(*page) : RangePage{};
  }

  // That `gone` and nothing else reads as a gap, both ways.
  void expect_gap(History& history, MessageSeq from, MessageSeq to) {
    for (const bool newest_first : {false, true}) {
      const RangePage page = all(history, newest_first);
      ASSERT_EQ(page.gaps.size(), 1u);
      EXPECT_EQ(page.gaps[0].from, from);
      EXPECT_EQ(page.gaps[0].to, to);
      EXPECT_EQ(page.gaps[0].reason, SeqGap::Reason::NotVisible);
      std::size_t at = 0;
      const auto& written = scribe_.messages[pair_];
      for (std::size_t i = 0; i < written.size(); ++i) {
        const auto& expected = written[newest_first ? written.size() - 1 - i : i];
        if (expected->seq() >= from && expected->seq() <= to) continue;
        ASSERT_LT(at, page.messages.size());
        EXPECT_TRUE(same_message(*page.messages[at++], *expected));
      }
      EXPECT_EQ(at, page.messages.size());
    }
  }

  HistoryScribe scribe_;
  const ConversationId pair_ = private_conversation("ada", "bob");
};

TEST_F(HistoryEraseTest, ARecalledRecordThatComesWithItsSegmentReadsAsAGap) {
  MessagePtr recalled;
  {
    auto history = scribe_.open();
    ASSERT_TRUE(history);
    scribe_.write("ada", "bob", "\"one\"");
    recalled = scribe_.write("ada", "bob", "\"secret\"");
    scribe_.write("bob", "ada", "\"three\"");
    scribe_.write("ada", "bob", "\"four\"");
    ingest_recalled(*history, recalled);
    expect_gap(*history, MessageSeq(2), MessageSeq(2));

    const ConversationHead& head = scribe_.heads[pair_];
    const auto stored = history->head(pair_);
    ASSERT_TRUE(stored.ok() && *stored);
    EXPECT_EQ((*stored)->last_seq, head.last_seq);
    EXPECT_EQ((*stored)->first_user_count, head.first_user_count);
    for (const auto& message : scribe_.messages[pair_]) {
      const auto seq = history->seq_at(head, message->position());
      ASSERT_TRUE(seq.ok());
      EXPECT_EQ(*seq, message->seq());
    }
    const auto feed = history->feed(LogPosition(0), 100);
    ASSERT_TRUE(feed.ok());
    EXPECT_EQ(feed->next, LogPosition(4));
    ASSERT_EQ(feed->messages.size(), 3u);
    EXPECT_EQ(feed->messages[1]->position(), LogPosition(3));
    const auto activity = history->activity_since(UserId("bob"), LogPosition(0), 10);
    ASSERT_TRUE(activity.ok());
    ASSERT_EQ(activity->entries.size(), 1u);
    EXPECT_EQ(activity->entries[0].last_seq, MessageSeq(4));
  }
  const auto report = verify_history(scribe_.path(), [](const CorruptInterval&) { ADD_FAILURE() << "nothing is corrupt"; });
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(report->records, 4u);
}

TEST_F(HistoryEraseTest, AdjacentRecalledRecordsAreOneGapAndAPageOfNothingElseIsWhole) {
  auto history = scribe_.open();
  ASSERT_TRUE(history);
  std::vector<RecalledRecord> records;
  for (int i = 0; i < 600; ++i) records.push_back(record_of(*scribe_.write("ada", "bob", "\"secret\"")));
  ASSERT_TRUE(scribe_.ingest(*history).ok());
  ASSERT_TRUE(history->begin_erase(records).ok());
  expect_gap(*history, MessageSeq(1), MessageSeq(600));
  EXPECT_FALSE(all(*history).more);
}

}  // namespace
}  // namespace dunlin::embedded

#include "storage/embedded/history/history.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <random>
#include <thread>

#include "storage/embedded/history/testing/history_scribe.h"

namespace dunlin::embedded {
namespace {

std::vector<std::uint64_t> seqs(const RangePage& page) {
  std::vector<std::uint64_t> out;
  for (const auto& message : page.messages) out.push_back(message->seq().value());
  return out;
}

std::string user(std::uint64_t n) {
  return "user" + std::to_string(n);
}

class HistoryTest : public ::testing::Test {
 protected:
  void SetUp() override {
    history = scribe.open();
    ASSERT_TRUE(history) << scribe.last_error.to_string();
  }
  void ingest() {
    const Status status = scribe.ingest(*history);
    ASSERT_TRUE(status.ok()) << status.error().to_string();
  }
  void expect_all_readable() {
    for (const auto& [id, messages] : scribe.messages) {
      const auto head = history->head(id);
      ASSERT_TRUE(head.ok() && *head);
      EXPECT_EQ((*head)->last_seq, messages.back()->seq());
      EXPECT_EQ((*head)->last_position, messages.back()->place().position);
      EXPECT_EQ((*head)->first_user_count, messages.back()->place().first_user_count);
      const auto page = history->range(**head, HistoryScribe::all_of(id));
      ASSERT_TRUE(page.ok());
      EXPECT_TRUE(page->gaps.empty());
      EXPECT_FALSE(page->more);
      ASSERT_EQ(page->messages.size(), messages.size());
      for (std::size_t i = 0; i < messages.size(); ++i) EXPECT_TRUE(same_message(*page->messages[i], *messages[i]));
    }
  }

  HistoryScribe scribe;
  std::unique_ptr<History> history;
};

TEST_F(HistoryTest, IsEmptyAtFirst) {
  EXPECT_EQ(history->position(), LogPosition(0));
  EXPECT_EQ(history->last_conversation_number(), 0u);
  const auto head = history->head(private_conversation("ada", "bob"));
  ASSERT_TRUE(head.ok());
  EXPECT_FALSE(*head);
  EXPECT_TRUE(history->conversations(UserId("ada"), ConversationId(), 10)->conversations.empty());
  EXPECT_TRUE(history->activity_since(UserId("ada"), LogPosition(0), 10)->entries.empty());
  EXPECT_TRUE(history->activity_newest(UserId("ada"), LogPosition(UINT64_MAX), 10)->entries.empty());
  EXPECT_TRUE(history->feed(LogPosition(0), 10)->messages.empty());
}

TEST_F(HistoryTest, GivesBackEveryMessageOfManySegmentsAlsoAfterReopening) {
  std::mt19937 random(7);
  for (int segment = 0; segment < 40; ++segment) {
    for (int i = 0; i < 50; ++i) scribe.write(user(random() % 6), user(random() % 6), std::string(random() % 300, 'x'));
    ingest();
  }
  expect_all_readable();
  history.reset();
  history = scribe.open();
  ASSERT_TRUE(history);
  EXPECT_EQ(history->position(), LogPosition(scribe.position));
  EXPECT_EQ(history->last_conversation_number(), scribe.numbers);
  expect_all_readable();
}

TEST_F(HistoryTest, RefusesASegmentThatItHolds) {
  scribe.write("ada", "bob", "1");
  const SealedSegment segment = scribe.seal();
  ASSERT_TRUE(history->ingest(segment).ok());
  EXPECT_EQ(history->ingest(segment).error().code(), ErrorCode::WrongState);
  EXPECT_EQ(history->position(), LogPosition(1));
}

TEST_F(HistoryTest, TakesASegmentWithoutRecordsForItsPosition) {
  scribe.position = 5;
  ingest();
  EXPECT_EQ(history->position(), LogPosition(5));
}

TEST_F(HistoryTest, ReadsRangesBothWaysWithinLimits) {
  for (int i = 1; i <= 30; ++i) {
    scribe.write("ada", "bob", std::to_string(i));
    scribe.write("ada", "cyn", "noise");
    if (i % 7 == 0) ingest();
    if (i == 14) scribe.clock.advance(std::chrono::hours(25));  // a second volume
  }
  ingest();
  EXPECT_EQ(history->stats().volumes, 2u);
  const ConversationId id = private_conversation("ada", "bob");
  const auto head = history->head(id);
  RangeQuery query = HistoryScribe::all_of(id);
  query.from = MessageSeq(12);
  query.to = MessageSeq(20);
  query.max_messages = 5;
  auto page = history->range(**head, query);
  EXPECT_EQ(seqs(*page), (std::vector<std::uint64_t>{12, 13, 14, 15, 16}));
  EXPECT_TRUE(page->more);
  query.from = MessageSeq(17);
  page = history->range(**head, query);
  EXPECT_EQ(seqs(*page), (std::vector<std::uint64_t>{17, 18, 19, 20}));
  EXPECT_FALSE(page->more);
  query.from = MessageSeq(12);
  query.newest_first = true;
  query.max_messages = 7;
  page = history->range(**head, query);
  EXPECT_EQ(seqs(*page), (std::vector<std::uint64_t>{20, 19, 18, 17, 16, 15, 14}));
  EXPECT_TRUE(page->more);
  query.to = MessageSeq(13);
  page = history->range(**head, query);
  EXPECT_EQ(seqs(*page), (std::vector<std::uint64_t>{13, 12}));
  EXPECT_FALSE(page->more);
  query = HistoryScribe::all_of(id);
  query.max_bytes = 1;
  EXPECT_EQ(seqs(*history->range(**head, query)), (std::vector<std::uint64_t>{1}));
  query.from = MessageSeq(31);
  EXPECT_TRUE(history->range(**head, query)->messages.empty());
  EXPECT_FALSE(history->range(**head, query)->more);
}

TEST_F(HistoryTest, LeavesOutWhatOnlyTheLogHoldsYet) {
  scribe.write("ada", "bob", "1");
  ingest();
  scribe.write("ada", "bob", "2");
  const ConversationId id = private_conversation("ada", "bob");
  const auto page = history->range(scribe.heads[id], HistoryScribe::all_of(id));
  EXPECT_EQ(seqs(*page), std::vector<std::uint64_t>{1});
  EXPECT_TRUE(page->gaps.empty());
}

TEST_F(HistoryTest, FindsTheSeqAtEveryPosition) {
  std::mt19937 random(3);
  for (int i = 0; i < 400; ++i) {
    scribe.write("ada", user(random() % 3), "x");
    if (i % 60 == 0) ingest();
    if (i % 150 == 0) scribe.clock.advance(std::chrono::hours(25));
  }
  ingest();
  EXPECT_GE(history->stats().volumes, 3u);
  for (const auto& [id, messages] : scribe.messages) {
    const auto head = history->head(id);
    for (std::uint64_t position = 0; position <= scribe.position; position += 3) {
      std::uint64_t expected = 0;
      for (const auto& message : messages) expected += message->place().position.value() <= position ? 1 : 0;
      EXPECT_EQ(history->seq_at(**head, LogPosition(position))->value(), expected);
    }
  }
}

TEST_F(HistoryTest, FindsASeqWithFewReads) {
  for (int i = 0; i < 4000; ++i) scribe.write("ada", "bob", "x");
  ingest();
  const auto head = history->head(private_conversation("ada", "bob"));
  const auto before = history->stats().rows_read;
  EXPECT_EQ(*history->seq_at(**head, LogPosition(1234)), MessageSeq(1234));
  EXPECT_LE(history->stats().rows_read - before, 16u);
}

TEST_F(HistoryTest, TellsWhatChangedInPositionOrder) {
  scribe.write("ada", "bob", "1");
  scribe.write("cyn", "ada", "2");
  scribe.write("ada", "bob", "3");
  scribe.write("cyn", "bob", "4");
  ingest();
  scribe.clock.advance(std::chrono::hours(25));
  scribe.write("bob", "ada", "5");
  scribe.write("ada", "ada", "6");
  ingest();
  const auto page = history->activity_since(UserId("ada"), LogPosition(0), 10);
  ASSERT_TRUE(page.ok());
  ASSERT_EQ(page->entries.size(), 4u);
  EXPECT_FALSE(page->more);
  EXPECT_FALSE(page->truncated);
  EXPECT_EQ(page->scanned_to, LogPosition(6));
  EXPECT_EQ(page->entries[1].conversation, private_conversation("ada", "cyn"));
  EXPECT_EQ(page->entries[0].conversation, private_conversation("ada", "bob"));
  EXPECT_EQ(page->entries[0].first_seq, MessageSeq(1));
  EXPECT_EQ(page->entries[0].last_seq, MessageSeq(2));
  EXPECT_EQ(page->entries[0].first_position, LogPosition(1));
  EXPECT_EQ(page->entries[0].last_position, LogPosition(3));
  EXPECT_EQ(page->entries[3].conversation, private_conversation("ada", "ada"));
  EXPECT_EQ(history->activity_since(UserId("ada"), LogPosition(5), 10)->entries.size(), 1u);
  EXPECT_EQ(history->activity_since(UserId("ada"), LogPosition(6), 10)->entries.size(), 0u);
  EXPECT_EQ(history->activity_since(UserId("ad"), LogPosition(0), 10)->entries.size(), 0u);
}

TEST_F(HistoryTest, PagesActivityBothWaysWithoutLossForAUserOfManyConversations) {
  for (int segment = 0; segment < 3; ++segment) {
    for (int i = 0; i < 200; ++i) scribe.write("ada", user(static_cast<std::uint64_t>(i)), "x");
    ingest();
  }
  std::vector<ActivityEntry> up;
  LogPosition after;
  for (bool more = true; more;) {
    auto page = history->activity_since(UserId("ada"), after, 37);
    ASSERT_TRUE(page.ok());
    more = page->more;
    after = page->scanned_to;
    std::move(page->entries.begin(), page->entries.end(), std::back_inserter(up));
  }
  EXPECT_EQ(after, LogPosition(600));
  ASSERT_EQ(up.size(), 600u);
  for (std::size_t i = 0; i < up.size(); ++i) EXPECT_EQ(up[i].last_position.value(), i + 1);
  std::uint64_t expected = 600;
  LogPosition from(UINT64_MAX);
  for (bool more = true; more;) {
    const auto page = history->activity_newest(UserId("ada"), from, 37);
    ASSERT_TRUE(page.ok());
    for (const auto& entry : page->entries) EXPECT_EQ(entry.last_position.value(), expected--);
    more = page->more;
    if (more) from = page->entries.back().last_position.prev();
  }
  EXPECT_EQ(expected, 0u);
}

TEST_F(HistoryTest, AUserOfManyConversationsReadsEachRowOnce) {
  for (int round = 0; round < 5; ++round) {
    for (int i = 0; i < 1000; ++i) scribe.write("ada", user(static_cast<std::uint64_t>(i)), "x");
  }
  ingest();
  const auto before = history->stats().rows_read;
  LogPosition after;
  std::size_t pages = 0;
  std::size_t entries = 0;
  for (bool more = true; more; ++pages) {
    const auto page = history->activity_since(UserId("ada"), after, 64);
    ASSERT_TRUE(page.ok());
    EXPECT_LE(page->entries.size(), 64u);
    for (const auto& entry : page->entries) {
      EXPECT_GT(entry.first_position, after);
      EXPECT_LE(entry.last_position, page->scanned_to);
    }
    entries += page->entries.size();
    after = page->scanned_to;
    more = page->more;
  }
  EXPECT_EQ(entries, 5000u) << "in turn: nothing to coalesce within a group";
  EXPECT_LE(history->stats().rows_read - before, 2 * pages);
}

TEST_F(HistoryTest, ReadsOfTheNewestTouchFewRows) {
  for (int i = 0; i < 5000; ++i) scribe.write("ada", user(static_cast<std::uint64_t>(i)), "x");
  ingest();
  const auto before = history->stats().rows_read;
  EXPECT_EQ(history->activity_newest(UserId("ada"), LogPosition(UINT64_MAX), 20)->entries.size(), 20u);
  EXPECT_LE(history->stats().rows_read - before, 3u);
}

TEST_F(HistoryTest, ListsEveryConversationOfAUserInIdOrder) {
  std::vector<ConversationId> expected;
  for (int i = 0; i < 300; ++i) {
    expected.push_back(ConversationId(scribe.write("ada", user(static_cast<std::uint64_t>(i)), "x")->conversation()));
    scribe.write("bob", user(static_cast<std::uint64_t>(i)), "x");
    if (i % 100 == 99) ingest();
  }
  std::sort(expected.begin(), expected.end());
  std::vector<ConversationId> found;
  ConversationId after;
  for (bool more = true; more;) {
    const auto page = history->conversations(UserId("ada"), after, 7);
    ASSERT_TRUE(page.ok());
    found.insert(found.end(), page->conversations.begin(), page->conversations.end());
    after = found.back();
    more = page->more;
  }
  EXPECT_EQ(found, expected);
}

TEST_F(HistoryTest, AnswersDedupFromEveryGeneration) {
  for (int i = 0; i < 4; ++i) {
    scribe.write("ada", "bob", std::to_string(i));
    ingest();
    scribe.clock.advance(std::chrono::hours(7));
  }
  for (const auto& message : scribe.messages.begin()->second) {
    const DedupEntry expected = HistoryScribe::dedup_of(*message);
    const auto entry = history->dedup(expected.key);
    ASSERT_TRUE(entry.ok() && *entry);
    EXPECT_EQ((*entry)->seq, expected.seq);
    EXPECT_EQ((*entry)->body_digest, expected.body_digest);
    EXPECT_EQ((*entry)->time_ms, expected.time_ms);
  }
  EXPECT_FALSE(*history->dedup({1, 2}));
}

TEST_F(HistoryTest, TellsDedupKeysApartThatShareTheirFirstHalf) {
  const auto first = scribe.write("ada", "bob", "1");
  const auto second = scribe.write("ada", "bob", "2");
  SealedSegment segment = scribe.seal();
  scribe.dedup[0].key = {9, 1};
  scribe.dedup[1].key = {9, 2};
  ASSERT_TRUE(history->ingest(segment).ok());
  EXPECT_EQ((*history->dedup({9, 1}))->seq, first->seq());
  EXPECT_EQ((*history->dedup({9, 2}))->seq, second->seq());
  EXPECT_FALSE(*history->dedup({9, 3}));
}

TEST_F(HistoryTest, FeedsRecordsInLogOrder) {
  std::mt19937 random(11);
  for (int i = 0; i < 300; ++i) {
    scribe.write(user(random() % 4), user(random() % 4), "x");
    if (i % 70 == 0) ingest();
  }
  ingest();
  std::uint64_t expected = 0;
  LogPosition after;
  while (after < history->position()) {
    const auto page = history->feed(after, 41);
    ASSERT_TRUE(page.ok() && !page->reset);
    for (const auto& message : page->messages) EXPECT_EQ(message->place().position.value(), ++expected);
    after = page->next;
  }
  EXPECT_EQ(expected, scribe.position);
}

TEST_F(HistoryTest, APageOfTheFeedCostsAsManyRowsAsItHolds) {
  std::mt19937 random(12);
  for (int i = 0; i < 2000; ++i) {
    scribe.write(user(random() % 20), user(random() % 20), "x");
    if (i % 500 == 499) ingest();
  }
  for (const std::uint64_t after : {0U, 490U, 1300U, 1995U}) {
    const std::uint64_t before = history->stats().rows_read;
    const auto page = history->feed(LogPosition(after), 20);
    ASSERT_TRUE(page.ok());
    EXPECT_EQ(page->messages.size(), std::min<std::uint64_t>(20, 2000 - after));
    EXPECT_LE(history->stats().rows_read - before, 24U) << after;
  }
}

TEST_F(HistoryTest, ShowsRecordsThatTheLogLostAsCorrupt) {
  scribe.write("ada", "bob", "1");
  scribe.write("ada", "bob", "2");
  scribe.write("ada", "bob", "3");
  scribe.write("bob", "cyn", "1");
  ingest();
  scribe.write("ada", "bob", "4");
  scribe.write("ada", "bob", "5");
  scribe.write("cyn", "dan", "lost from the start");
  SealedSegment segment = scribe.seal();
  std::vector<LostRecord> lost;
  for (const std::size_t i : {1u, 2u}) {
    const Message& message = *scribe.sealed[i];
    lost.push_back({ConversationId(message.conversation()), message.place().conversation_number, message.seq(), message.place().position});
  }
  segment.records = segment.records.subspan(0, 1);
  segment.dedup = segment.dedup.subspan(0, 1);
  segment.lost = lost;
  ASSERT_TRUE(history->ingest(segment).ok());
  const auto fed = history->feed(LogPosition(0), 10);
  EXPECT_EQ(fed->messages.size(), 5U) << "the feed leaves out what is lost";
  EXPECT_EQ(fed->next, LogPosition(7));
  const ConversationId id = private_conversation("ada", "bob");
  const auto head = history->head(id);
  EXPECT_EQ((*head)->last_seq, MessageSeq(5));
  EXPECT_EQ((*head)->last_position, LogPosition(6));
  EXPECT_EQ((*head)->first_user_count, 4u);
  const auto page = history->range(**head, HistoryScribe::all_of(id));
  EXPECT_EQ(seqs(*page), (std::vector<std::uint64_t>{1, 2, 3, 4}));
  ASSERT_EQ(page->gaps.size(), 1u);
  EXPECT_EQ(page->gaps[0].from, MessageSeq(5));
  EXPECT_EQ(page->gaps[0].reason, GapReason::Corrupt);
  EXPECT_EQ((*history->head(private_conversation("cyn", "dan")))->last_seq, MessageSeq(1));
  EXPECT_EQ(history->conversations(UserId("dan"), ConversationId(), 10)->conversations.size(), 1u);
  EXPECT_EQ(history->last_conversation_number(), 3u);
}

TEST_F(HistoryTest, CopiesItselfWhileOpen) {
  for (int i = 0; i < 10; ++i) {
    scribe.write("ada", "bob", std::to_string(i));
    ingest();
  }
  const std::string copy = (scribe.folder / "copy").string();
  std::filesystem::create_directories(copy);
  ASSERT_TRUE(history->checkpoint(copy).ok());
  scribe.write("ada", "bob", "later");
  ingest();
  EXPECT_FALSE(history->checkpoint(copy).ok());  // not over what is there
  HistoryOptions options = scribe.options;
  options.path = copy;
  const auto copied = History::open(options);
  ASSERT_TRUE(copied.ok());
  EXPECT_EQ((*copied)->position(), LogPosition(10));
}

TEST_F(HistoryTest, TakesASegmentAgainThatTheDiskRefused) {
  scribe.write("ada", "bob", "first");
  ingest();
  for (int i = 0; i < 100; ++i) scribe.write("ada", "bob", std::string(1000, 'x'));
  const SealedSegment segment = scribe.seal();
  {
    const SmallFiles full(32 << 10);
    const Status refused = history->ingest(segment);
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(wire_code(refused.error().code()), ErrorCode::StoreUnavailable);
    EXPECT_EQ(history->position(), LogPosition(1));
    EXPECT_EQ((*history->head(private_conversation("ada", "bob")))->last_seq, MessageSeq(1));
  }
  const Status status = history->ingest(segment);
  ASSERT_TRUE(status.ok()) << status.error().to_string();
  expect_all_readable();
}

TEST_F(HistoryTest, ReadsBesideIngestAndRetention) {
  scribe.options.retention = std::chrono::hours(60);
  history.reset();
  history = scribe.open();
  const ConversationId id = private_conversation("ada", "bob");
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> pages{0};
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&] {
      while (!stop) {
        const auto head = history->head(id);
        ASSERT_TRUE(head.ok());
        if (!*head) continue;
        const auto page = history->range(**head, HistoryScribe::all_of(id));
        ASSERT_TRUE(page.ok());
        std::uint64_t covered = page->messages.size();
        for (const auto& gap : page->gaps) {
          EXPECT_EQ(gap.reason, GapReason::Truncated);
          covered += gap.to.value() - gap.from.value() + 1;
        }
        EXPECT_GE(covered, (*head)->last_seq.value());
        EXPECT_TRUE(history->activity_newest(UserId("ada"), LogPosition(UINT64_MAX), 5).ok());
        ++pages;
      }
    });
  }
  for (int i = 0; i < 60 || pages < 30; ++i) {
    for (int k = 0; k < 5; ++k) scribe.write("ada", "bob", "x");
    scribe.write("ada", "cyn", "x");
    const Status status = scribe.ingest(*history);
    EXPECT_TRUE(status.ok());
    scribe.clock.advance(std::chrono::hours(5));
    EXPECT_TRUE(history->retain(scribe.clock.wall()).ok());
  }
  stop = true;
  for (auto& reader : readers) reader.join();
  EXPECT_GT(history->trimmed_through(), LogPosition(0));
}

TEST_F(HistoryTest, IsOpenOnlyOnce) {
  EXPECT_EQ(scribe.open(), nullptr);
  EXPECT_EQ(scribe.last_error.code(), ErrorCode::Busy);
}

}  // namespace
}  // namespace dunlin::embedded

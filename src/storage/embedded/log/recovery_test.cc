#include "storage/embedded/log/recovery.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/log.h"
#include "storage/embedded/log/testing/log_harness.h"

namespace dunlin::embedded {
namespace {

class RecoveryTest : public testing::Test {
 protected:
  // The only segment file that holds records, as it is on the disk.
  std::string segment() {
    for (const char* name : {"data/log/p0-00000001.seg", "data/log/p0-00000002.seg", "data/log/p0-00000003.seg"}) {
      if (index_segment(files_.content(name), LogHarness::kSecret).generation != 0) return name;
    }
    return {};
  }
  // Sends a message to each of `count` conversations in turn, each its own batch.
  void fill(int count) {
    LogHarness store(files_, history_);
    const SessionKey session = store.open_session();
    for (int i = 0; i < count; ++i) {
      const std::string peer = "peer" + std::to_string(i % 3);
      ASSERT_FALSE(store.send(session, "ann", peer, "m" + std::to_string(i), "\"body-" + std::to_string(i) + "\"").refused);
    }
  }
  void flip(const std::string& path, std::size_t at) {
    std::string bytes = files_.content(path);
    ASSERT_LT(at, bytes.size());
    bytes[at] = static_cast<char>(bytes[at] ^ 0x10);
    files_.set_content(path, bytes);
  }
  ConversationId with(int peer) { return private_conversation("ann", "peer" + std::to_string(peer)); }

  FaultyFileSystem files_{1};
  FakeHistory history_;
};

TEST_F(RecoveryTest, AFlippedBodyIsAGapOfItsOwnConversationAndTheRestServes) {
  fill(12);
  const std::string path = segment();
  flip(path, files_.content(path).find("body-4"));
  LogHarness store(files_, history_);
  ASSERT_TRUE(store.alive);
  EXPECT_EQ(store.recovered.scan.lost, 1U);
  EXPECT_EQ(store.recovered.scan.unknown, 0U);
  EXPECT_EQ(store.recovered.unnamed, 0U);
  const RangePage damaged = store.all_of(with(1));  // messages 1, 4, 7, 10
  ASSERT_EQ(damaged.gaps.size(), 1U);
  EXPECT_EQ(damaged.gaps[0].reason, GapReason::Corrupt);
  EXPECT_EQ(damaged.gaps[0].from, MessageSeq(2));
  EXPECT_EQ(damaged.gaps[0].to, MessageSeq(2));
  EXPECT_EQ(damaged.messages.size(), 3U);
  for (const int other : {0, 2}) {
    EXPECT_TRUE(store.all_of(with(other)).gaps.empty());
    EXPECT_EQ(store.all_of(with(other)).messages.size(), 4U);
  }
  EXPECT_EQ(store.send(store.open_session(), "ann", "peer1", "next").seq, MessageSeq(5)) << "the lost seq is not given again";
}

TEST_F(RecoveryTest, ADeviceThatHasAllButALostLastRecordComesBack) {
  fill(12);
  const std::string path = segment();
  flip(path, files_.content(path).find("body-9"));  // the last of peer0, but not of the log
  LogHarness store(files_, history_);
  ASSERT_EQ(store.recovered.scan.lost, 1U);
  const LogPosition acked = store.all_of(with(2)).messages[2]->place().position;  // message 8
  EXPECT_TRUE(store.window.activity_since("peer0", acked, 10).entries.empty());
  const ActivityPage page = store.window.activity_since("ann", acked, 1);
  ASSERT_EQ(page.entries.size(), 1U);
  EXPECT_EQ(page.entries[0].conversation, with(1));
  EXPECT_TRUE(page.more);
  EXPECT_GT(page.scanned_to, acked);
}

TEST_F(RecoveryTest, ALostLastRecordKeepsItsSeq) {
  fill(12);
  const std::string path = segment();
  flip(path, files_.content(path).find("body-9"));  // the last of peer0, but not of the log
  LogHarness store(files_, history_);
  EXPECT_EQ(store.all_of(with(0)).head.last_seq, MessageSeq(4));
  EXPECT_EQ(store.send(store.open_session(), "ann", "peer0", "next").seq, MessageSeq(5));
  ASSERT_TRUE(store.writer->seal().ok());
  store.index();
  const RangePage page = store.all_of(with(0));
  EXPECT_EQ(page.messages.size(), 4U);
  ASSERT_EQ(page.gaps.size(), 1U) << "history shows the loss too";
  EXPECT_EQ(page.gaps[0].from, MessageSeq(4));
}

TEST_F(RecoveryTest, ADamagedBatchHeadIsSalvagedFromItsRecords) {
  fill(12);
  const std::string path = segment();
  const SegmentIndex index = index_segment(files_.content(path), LogHarness::kSecret);
  ASSERT_EQ(index.batches.size(), 12U);
  flip(path, index.batches[5].place.offset + 30);
  LogHarness store(files_, history_);
  EXPECT_EQ(store.recovered.scan.lost + store.recovered.scan.unknown, 0U);
  for (const int peer : {0, 1, 2}) EXPECT_EQ(store.all_of(with(peer)).messages.size(), 4U);
}

TEST_F(RecoveryTest, AWholeBatchOverwrittenIsToldAsLostWithoutATrace) {
  fill(12);
  const std::string path = segment();
  const SegmentIndex index = index_segment(files_.content(path), LogHarness::kSecret);
  std::string bytes = files_.content(path);
  bytes.replace(index.batches[5].place.offset, index.batches[5].bytes, index.batches[5].bytes, 'Z');
  files_.set_content(path, bytes);
  LogHarness store(files_, history_);
  EXPECT_EQ(store.recovered.scan.unknown, 1U) << "so that a new epoch begins";
  const RangePage page = store.all_of(with(2));
  ASSERT_EQ(page.gaps.size(), 1U) << "later records of the conversation show the hole";
  EXPECT_EQ(page.gaps[0].from, MessageSeq(2));
}

TEST_F(RecoveryTest, ATornLastBatchIsCopiedAsideAndCut) {
  fill(6);
  const std::string path = segment();
  const SegmentIndex index = index_segment(files_.content(path), LogHarness::kSecret);
  const BatchHead last = index.batches.back();
  std::string bytes = files_.content(path);
  bytes.replace(last.end() - 40, 40, 40, '\0');
  files_.set_content(path, bytes);
  {
    LogHarness store(files_, history_);
    ASSERT_TRUE(store.recovered.scan.tail);
    EXPECT_EQ(store.recovered.scan.tail->offset, last.place.offset);
    EXPECT_EQ(store.recovered.scan.records, 5U);
    EXPECT_EQ(store.recovered.scan.lost, 0U);
    const std::string copy = files_.content("data/torn-" + path.substr(9) + "-" + std::to_string(last.place.offset));
    EXPECT_EQ(copy, bytes.substr(last.place.offset, copy.size()));
    EXPECT_FALSE(copy.empty());
    EXPECT_EQ(store.send(store.open_session(), "ann", "peer2", "again").seq, MessageSeq(2)) << "it was never acked";
  }
  LogHarness after(files_, history_);
  EXPECT_FALSE(after.recovered.scan.tail) << "the cut is durable";
  EXPECT_EQ(after.recovered.scan.records, 6U);
}

// A server that is killed again and again must not fill the disk with what nobody was promised.
TEST_F(RecoveryTest, CopiesOfTornEndsAreBoundedInNumber) {
  set_log_level(LogLevel::Off);
  for (int i = 0; i < 63; ++i) files_.set_content("data/torn-p0-00000001.seg-" + std::to_string(8 * i + 100'000), "old");
  const auto copies = [&] {
    const auto names = files_.list("data").value();
    return std::count_if(names.begin(), names.end(), [](const std::string& name) { return name.starts_with("torn-"); });
  };
  for (int i = 0; i < 3; ++i) {
    {
      LogHarness store(files_, history_);
      const SessionKey session = store.open_session();
      for (const char* half : {"kept", "torn"}) {
        ASSERT_FALSE(store.send(session, "ann", "ben", half + std::to_string(i), "\"body\"").refused);
      }
    }
    std::string path;
    std::uint64_t newest = 0;
    const auto names = files_.list("data/log").value();
    for (const std::string& name : names) {
      const std::uint64_t generation = index_segment(files_.content("data/log/" + name), LogHarness::kSecret).generation;
      if (generation > newest) path = "data/log/" + name;
      newest = std::max(newest, generation);
    }
    const BatchHead last = index_segment(files_.content(path), LogHarness::kSecret).batches.back();
    std::string bytes = files_.content(path);
    bytes.replace(last.end() - 40, 40, 40, '\0');
    files_.set_content(path, bytes);
    LogHarness store(files_, history_);
    ASSERT_TRUE(store.alive) << store.failure;
    EXPECT_TRUE(store.recovered.scan.tail);
    EXPECT_EQ(copies(), 64);
  }
  set_log_level(LogLevel::Info);
}

TEST_F(RecoveryTest, AnEndMarkTellsACleanStopAndGuardsTheLastBatch) {
  {
    LogHarness store(files_, history_);
    const SessionKey session = store.open_session();
    store.send(session, "ann", "peer0", "m0", "\"body-0\"");
    ASSERT_TRUE(store.writer->end(LogPosition(2)).ok());
  }
  {
    LogHarness store(files_, history_);
    EXPECT_TRUE(store.recovered.scan.clean_end);
  }
  const std::string path = segment();
  flip(path, files_.content(path).find("body-0"));
  LogHarness store(files_, history_);
  EXPECT_EQ(store.recovered.scan.lost, 1U) << "without the mark it would pass for a torn tail";
  EXPECT_FALSE(store.recovered.scan.tail);
}

TEST_F(RecoveryTest, RecycledSegmentsNeverShowOldRecords) {
  std::uint64_t sent = 0;
  for (int life = 0; life < 6; ++life) {
    LogHarness store(files_, history_);
    ASSERT_TRUE(store.alive);
    EXPECT_EQ(store.recovered.scan.lost + store.recovered.scan.unknown, 0U);
    const SessionKey session = store.open_session();
    for (int i = 0; i < 60; ++i) {
      const auto outcome = store.send(session, "ann", "ben", "m" + std::to_string(sent), "\"" + std::string(2500, 'b') + "\"");
      ASSERT_FALSE(outcome.refused);
      EXPECT_EQ(outcome.seq.value(), ++sent);
      if (i % 9 == 0) store.index();
    }
  }
  LogHarness store(files_, history_);
  EXPECT_EQ(store.all_of(private_conversation("ann", "ben")).messages.size(), sent);
  EXPECT_LE(files_.list("data/log")->size(), 6U) << "files are recycled";
}

TEST_F(RecoveryTest, LostRecordsDoNotHideThoseBehindThemFromALimitedPage) {
  fill(12);
  const std::string path = segment();
  flip(path, files_.content(path).find("body-4"));
  flip(path, files_.content(path).find("body-7"));
  LogHarness store(files_, history_);
  RangeQuery query{with(1), MessageSeq(1), MessageSeq(4), 2, 1 << 20, false};  // of 1 to 4, 2 and 3 are lost
  const auto quick = store.reader.range_in_memory(query);
  EXPECT_FALSE(quick && !quick->more) << "4 is behind the page, not lost";
  auto page = store.reader.range(query);
  ASSERT_TRUE(page.ok());
  EXPECT_TRUE(page->more);
  query.from = MessageSeq(2);
  query.max_messages = 1;
  page = store.reader.range(query);
  ASSERT_TRUE(page.ok());
  ASSERT_EQ(page->gaps.size(), 1U) << "a page of lost ones only leads on";
  EXPECT_EQ(page->gaps[0].to, MessageSeq(3));
  EXPECT_TRUE(page->more);
}

TEST_F(RecoveryTest, ALostRecordAloneKeepsTheCountOfTheFirstUsersMessages) {
  {
    LogHarness store(files_, history_);
    const SessionKey session = store.open_session();
    for (int i = 0; i < 3; ++i) store.send(session, "ann", "peer0", "m" + std::to_string(i));
    ASSERT_TRUE(store.writer->seal().ok());
    store.index();
    store.send(session, "ann", "peer0", "m3", "\"the-lost-one\"");
    store.send(session, "ann", "peer1", "m4");
  }
  const auto names = files_.list("data/log");
  ASSERT_TRUE(names.ok());
  for (const auto& name : *names) {
    const auto at = files_.content("data/log/" + name).find("the-lost-one");
    if (at != std::string::npos) flip("data/log/" + name, at);
  }
  LogHarness store(files_, history_);
  ASSERT_EQ(store.recovered.scan.lost, 1U);
  const auto head = store.reader.head(with(0));
  ASSERT_TRUE(head.ok());
  EXPECT_EQ(head->last_seq, MessageSeq(4));
  EXPECT_EQ(head->first_user_count, 3U);
  const auto next = store.send(store.open_session(), "ann", "peer0", "next");
  EXPECT_EQ(next.message->place().first_user_count, 4U);
}

}  // namespace
}  // namespace dunlin::embedded

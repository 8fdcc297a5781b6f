#include <gtest/gtest.h>
#include <rocksdb/db.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <functional>
#include <future>
#include <set>
#include <string>
#include <thread>

#include "storage/embedded/history/rocks_history.h"
#include "storage/embedded/history/testing/history_scribe.h"

namespace dunlin::embedded {
namespace {

namespace fs = std::filesystem;

std::string contents(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// The files below `folder` that hold `text`.
std::vector<fs::path> files_with(const fs::path& folder, const std::string& text) {
  std::vector<fs::path> found;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file() && contents(entry.path()).find(text) != std::string::npos) found.push_back(entry.path());
  }
  return found;
}

// At a fault point of the erase, on its thread: the test does what comes in between, then lets it go on.
class Stop {
 public:
  void reached() {
    reached_.set_value();
    go_on_.get_future().wait();
  }
  void wait() { ASSERT_EQ(reached_.get_future().wait_for(std::chrono::minutes(1)), std::future_status::ready); }
  void go_on() { go_on_.set_value(); }

 private:
  std::promise<void> reached_;
  std::promise<void> go_on_;
};

RecalledRecord record_of(const Message& message) {
  return {message.place().conversation_number, message.seq(), message.place().position};
}

class HistoryEraseTest : public ::testing::Test {
 protected:
  // As the log does it: the record in the segment has no content any more.
  void ingest_recalled(History& history, const MessagePtr& message) {
    SealedSegment segment = scribe_.seal();
    for (auto& record : scribe_.sealed) {
      if (record->place().position == message->place().position) record = Message::recalled(*record);
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
      EXPECT_EQ(page.gaps[0].reason, GapReason::NotVisible);
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

  void open() {
    history_.reset();
    history_ = scribe_.open();
    ASSERT_TRUE(history_) << scribe_.last_error.to_string();
  }
  // Messages whose bodies are found again in files.
  static std::string body_of(int i) {
    return "\"body " + std::to_string(i) + " " + std::string(400, 'b') + " end " + std::to_string(i) + "\"";
  }
  static std::string mark_of(int i) { return " end " + std::to_string(i) + "\""; }
  void write_segments(int segments, int messages) {
    for (int segment = 0; segment < segments; ++segment) {
      for (int i = 0; i < messages; ++i) {
        written_.push_back(
            scribe_.write(i % 3 == 0 ? "bob" : "ada", i % 3 == 0 ? "ada" : "bob", body_of(static_cast<int>(written_.size()))));
        if (i % 5 == 0) scribe_.write("cyn", "dan", "\"beside\"");
      }
      const Status status = scribe_.ingest(*history_);
      ASSERT_TRUE(status.ok()) << status.error().to_string();
    }
  }
  std::vector<RecalledRecord> records(const std::vector<int>& which) const {
    std::vector<RecalledRecord> out;
    for (const int i : which) out.push_back(record_of(*written_[static_cast<std::size_t>(i)]));
    return out;
  }
  void begin(const std::vector<int>& which) {
    const Status status = history_->begin_erase(records(which));
    ASSERT_TRUE(status.ok()) << status.error().to_string();
  }
  Status end() {
    for (int i = 0; i < 6000; ++i) {
      if (auto status = history_->erase_done()) return *std::move(status);
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return Error(ErrorCode::Internal, "the erase does not end");
  }
  bool on_disk(int i) const { return !files_with(scribe_.path(), mark_of(i)).empty(); }
  void stop_at(std::string_view point, Stop& stop) {
    scribe_.options.fault_point = [&stop, point, done = std::make_shared<std::atomic<bool>>(false)](std::string_view at) {
      if (at == point && !done->exchange(true)) stop.reached();
    };
  }
  // All messages but those of `gone` are read as they were written, and just they are gaps, both ways.
  void expect_rest(const std::vector<int>& gone, GapReason reason = GapReason::NotVisible) {
    std::set<MessageSeq> seqs;
    for (const int i : gone) seqs.insert(written_[static_cast<std::size_t>(i)]->seq());
    for (const bool newest_first : {false, true}) {
      const RangePage page = all(*history_, newest_first);
      std::size_t hidden = 0;
      for (const SeqGap& gap : page.gaps) {
        EXPECT_EQ(gap.reason, reason);
        for (MessageSeq seq = gap.from; seq <= gap.to; seq = seq.next()) hidden += seqs.contains(seq) ? 1 : 100000;
      }
      EXPECT_EQ(hidden, seqs.size());
      EXPECT_EQ(page.messages.size() + seqs.size(), written_.size());
      for (const auto& message : page.messages) {
        EXPECT_FALSE(seqs.contains(message->seq()));
        EXPECT_TRUE(same_message(*message, *scribe_.messages[pair_][message->seq().value() - 1]));
      }
    }
  }

  HistoryScribe scribe_;
  std::unique_ptr<History> history_;
  std::vector<MessagePtr> written_;  // between ada and bob
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
      const auto seq = history->seq_at(head, message->place().position);
      ASSERT_TRUE(seq.ok());
      EXPECT_EQ(*seq, message->seq());
    }
    const auto feed = history->feed(LogPosition(0), 100);
    ASSERT_TRUE(feed.ok());
    EXPECT_EQ(feed->next, LogPosition(4));
    ASSERT_EQ(feed->messages.size(), 3u);
    EXPECT_EQ(feed->messages[1]->place().position, LogPosition(3));
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

TEST_F(HistoryEraseTest, ErasedContentIsInNoFileAndItsNeighboursAreAsTheyWere) {
  open();
  write_segments(6, 100);
  const std::vector<int> gone{0, 57, 99, 100, 301, 302, 599};
  for (const int i : gone) ASSERT_TRUE(on_disk(i)) << i;
  begin(gone);
  expect_rest(gone);  // at once
  ASSERT_TRUE(end().ok());
  EXPECT_TRUE(history_->not_erased().empty());
  EXPECT_FALSE(history_->erase_done().has_value());
  for (int i = 0; i < 600; ++i) EXPECT_EQ(on_disk(i), std::ranges::find(gone, i) == gone.end()) << i;
  expect_rest(gone);
  open();
  expect_rest(gone);
  const auto feed = history_->feed(LogPosition(0), 10000);
  ASSERT_TRUE(feed.ok());
  EXPECT_EQ(feed->messages.size(), scribe_.position - gone.size());
  EXPECT_EQ(feed->next, LogPosition(scribe_.position));
  history_.reset();
  const auto report = verify_history(scribe_.path(), [](const CorruptInterval&) { ADD_FAILURE() << "nothing is corrupt"; });
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(report->records, scribe_.position);
}

TEST_F(HistoryEraseTest, OneAtATimeAndUnknownRecordsAreFine) {
  open();
  write_segments(2, 20);
  auto some = records({3, 3, 30});
  some.push_back({9999, MessageSeq(1), LogPosition(2)});
  some.push_back(
      {written_[5]->place().conversation_number, written_[5]->seq(), written_[6]->place().position});  // not the message at that place
  ASSERT_TRUE(history_->begin_erase(some).ok());
  const Status second = history_->begin_erase(records({4}));
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code(), ErrorCode::Busy);
  ASSERT_TRUE(end().ok());
  expect_rest({3, 30});
  begin({});
  EXPECT_TRUE(end().ok());
}

TEST_F(HistoryEraseTest, ALostRecordStaysAGap) {
  open();
  for (int i = 0; i < 3; ++i) written_.push_back(scribe_.write("ada", "bob", body_of(i)));
  SealedSegment segment = scribe_.seal();
  const LostRecord lost{pair_, 1, MessageSeq(2), LogPosition(2)};
  scribe_.sealed.erase(scribe_.sealed.begin() + 1);
  scribe_.dedup.erase(scribe_.dedup.begin() + 1);
  segment.records = scribe_.sealed;
  segment.dedup = scribe_.dedup;
  segment.lost = {&lost, 1};
  ASSERT_TRUE(history_->ingest(segment).ok());
  begin({1});
  ASSERT_TRUE(end().ok());
  expect_rest({1}, GapReason::Corrupt);
}

TEST_F(HistoryEraseTest, AfterACrashTheSameCallDoesWhatIsLeft) {
  const std::vector<int> gone{7, 70, 130};
  for (const std::string point : {"erase_ingest", "erase_compact", "erase_compacted"}) {
    fs::remove_all(scribe_.path());
    scribe_.back_to({});
    written_.clear();
    // What a killed process leaves: the files as they are at that moment.
    const fs::path left = scribe_.folder / ("left at " + point);
    scribe_.options.fault_point = [&](std::string_view at) {
      if (at == point) fs::copy(scribe_.path(), left, fs::copy_options::recursive);
    };
    open();
    write_segments(3, 60);
    begin(gone);
    ASSERT_TRUE(end().ok());
    history_.reset();
    fs::remove_all(scribe_.path());
    ASSERT_TRUE(fs::exists(left)) << point;
    fs::rename(left, scribe_.path());
    std::atomic<int> compactions = 0;
    scribe_.options.fault_point = [&](std::string_view at) { compactions += at == "erase_compact" ? 1 : 0; };
    open();
    for (const int i : gone) EXPECT_EQ(on_disk(i), point != "erase_compacted") << point << " " << i;
    expect_rest(gone);  // the rows are in
    begin(gone);
    ASSERT_TRUE(end().ok());
    for (int i = 0; i < 180; ++i) EXPECT_EQ(on_disk(i), std::ranges::find(gone, i) == gone.end()) << point << " " << i;
    expect_rest(gone);
    EXPECT_EQ(compactions, point == "erase_compacted" ? 0 : 1) << "what is done is not done again";
    history_.reset();
  }
}

TEST_F(HistoryEraseTest, AnOpenReadHoldsTheContentUntilItEnds) {
  open();
  write_segments(3, 60);
  auto read = history_->begin_read();
  begin({70});
  for (int i = 0; i < 20; ++i) {
    ASSERT_FALSE(history_->erase_done().has_value()) << "the read still sees the old row";
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  const auto page = read->range(scribe_.heads[pair_], HistoryScribe::all_of(pair_), LogPosition(0));
  ASSERT_TRUE(page.ok());
  EXPECT_EQ(page->messages.size(), written_.size());
  expect_rest({70});
  EXPECT_TRUE(on_disk(70));
  read.reset();
  ASSERT_TRUE(end().ok());
  EXPECT_FALSE(on_disk(70));
}

TEST_F(HistoryEraseTest, ItIsNotDoneWhileAReadHoldsFilesThatWereReplaced) {
  Stop before;
  Stop after;
  scribe_.options.fault_point = [&](std::string_view at) {
    if (at == "erase_compact") before.reached();
    if (at == "erase_compacted") after.reached();
  };
  open();
  write_segments(3, 60);
  begin({70});
  before.wait();
  auto read = history_->begin_read();
  ASSERT_TRUE(read->range(scribe_.heads[pair_], HistoryScribe::all_of(pair_), LogPosition(0)).ok());
  before.go_on();
  after.wait();
  EXPECT_TRUE(on_disk(70));
  after.go_on();
  for (int i = 0; i < 20; ++i) {
    ASSERT_FALSE(history_->erase_done().has_value());
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  read.reset();
  ASSERT_TRUE(end().ok());
  EXPECT_FALSE(on_disk(70));
}

TEST_F(HistoryEraseTest, WhatACompactionKeptBelowTheNewRowIsFoundAndErased) {
  open();
  write_segments(3, 60);
  {
    auto& rocks = static_cast<RocksHistory&>(*history_);
    const auto read = history_->begin_read();
    begin({70});
    // For the open read it keeps both rows, in one file: whoever looks by key finds the new one alone.
    const auto timeline = rocks.catalog()->volumes.front().timeline;
    ASSERT_TRUE(rocks.db().CompactRange({}, timeline->handle(), nullptr, nullptr).ok());
  }
  open();
  EXPECT_EQ(files_with(scribe_.path(), mark_of(70)).size(), 1u);
  expect_rest({70});
  begin({70});
  ASSERT_TRUE(end().ok());
  EXPECT_FALSE(on_disk(70));
  EXPECT_TRUE(on_disk(71));
  expect_rest({70});
}

TEST_F(HistoryEraseTest, SegmentsComeInBeside) {
  Stop stop;
  stop_at("erase_compact", stop);
  open();
  write_segments(3, 60);
  begin({7, 70});
  stop.wait();
  write_segments(2, 60);
  stop.go_on();
  write_segments(10, 20);
  ASSERT_TRUE(end().ok());
  EXPECT_FALSE(on_disk(7));
  EXPECT_FALSE(on_disk(70));
  expect_rest({7, 70});
  open();
  expect_rest({7, 70});
}

TEST_F(HistoryEraseTest, RetentionMayDropTheVolumeMeanwhile) {
  Stop stop;
  stop_at("erase_compact", stop);
  scribe_.options.retention = std::chrono::hours(8);
  open();
  write_segments(2, 60);
  scribe_.clock.advance(std::chrono::hours(7));
  write_segments(1, 60);
  begin({7, 70});
  stop.wait();
  scribe_.clock.advance(std::chrono::hours(2));
  ASSERT_TRUE(history_->retain(scribe_.clock.wall()).ok());
  EXPECT_EQ(history_->stats().volumes, 1u);
  stop.go_on();
  const Status status = end();
  ASSERT_TRUE(status.ok()) << status.error().to_string();
  EXPECT_TRUE(history_->not_erased().empty());
  EXPECT_FALSE(on_disk(7));
  EXPECT_FALSE(on_disk(8));
  EXPECT_TRUE(on_disk(121));
  begin({7, 70});  // trimmed by now
  EXPECT_TRUE(end().ok());
}

TEST_F(HistoryEraseTest, TheFirstReadableMessageMayBeARecalledOne) {
  scribe_.options.retention = std::chrono::hours(8);
  open();
  write_segments(1, 60);
  scribe_.clock.advance(std::chrono::hours(7));
  write_segments(1, 60);
  scribe_.clock.advance(std::chrono::hours(2));
  ASSERT_TRUE(history_->retain(scribe_.clock.wall()).ok());
  begin({60});
  ASSERT_TRUE(end().ok());
  const auto head = history_->head(pair_);
  ASSERT_TRUE(head.ok() && *head);
  EXPECT_EQ((*head)->first_readable, MessageSeq(61));
  const auto page = history_->range(**head, HistoryScribe::all_of(pair_));
  ASSERT_TRUE(page.ok());
  ASSERT_EQ(page->gaps.size(), 2u);
  EXPECT_EQ(page->gaps[0].reason, GapReason::Truncated);
  EXPECT_EQ(page->gaps[1].reason, GapReason::NotVisible);
  EXPECT_EQ(page->gaps[1].from, MessageSeq(61));
  EXPECT_EQ(page->messages.size(), 59u);
}

TEST_F(HistoryEraseTest, ADamagedVolumeIsLeftAsItIsAndTold) {
  Stop stop;
  stop_at("erase_compact", stop);
  open();
  write_segments(1, 300);
  scribe_.clock.advance(std::chrono::hours(25));
  write_segments(2, 60);  // in the next volume
  begin({12, 200, 310});
  stop.wait();
  const auto old = files_with(scribe_.path(), mark_of(12));
  ASSERT_EQ(old.size(), 1u);
  std::string bytes = contents(old[0]);
  bytes[bytes.find(mark_of(10))] ^= 1;  // in the same block as 12
  std::ofstream(old[0], std::ios::binary | std::ios::in) << bytes;
  stop.go_on();
  const Status status = end();
  ASSERT_TRUE(status.ok()) << status.error().to_string();
  const auto expect_kept = [&] {
    const auto kept = history_->not_erased();
    ASSERT_EQ(kept.size(), 2u);
    EXPECT_EQ(kept[0].position, written_[12]->place().position);
    EXPECT_EQ(kept[1].position, written_[200]->place().position);
  };
  expect_kept();
  EXPECT_TRUE(on_disk(12));
  EXPECT_TRUE(on_disk(200));
  EXPECT_FALSE(on_disk(310)) << "the other volume is erased all the same";

  for (int round = 0; round < 2; ++round) {
    scribe_.options.fault_point = nullptr;
    if (round == 1) open();
    begin({12, 200, 310});
    ASSERT_TRUE(end().ok());
    expect_kept();
    // Read around the damage, file by file: the row without content is the newer one.
    RangeQuery query = HistoryScribe::all_of(pair_);
    query.to = MessageSeq(250);
    const auto page = history_->range(scribe_.heads[pair_], query);
    ASSERT_TRUE(page.ok());
    std::set<MessageSeq> hidden;
    for (const SeqGap& gap : page->gaps) {
      for (MessageSeq seq = gap.from; seq <= gap.to; seq = seq.next()) {
        if (gap.reason == GapReason::NotVisible) hidden.insert(seq);
      }
    }
    EXPECT_EQ(hidden, (std::set<MessageSeq>{written_[12]->seq(), written_[200]->seq()}));
    for (const auto& message : page->messages) EXPECT_TRUE(same_message(*message, *written_[message->seq().value() - 1]));
  }
}

TEST_F(HistoryEraseTest, ClosingCancelsItWithoutHarm) {
  open();
  write_segments(20, 1000);
  const std::vector<int> gone{5, 1500, 19999};
  begin(gone);
  open();  // closes first
  expect_rest(gone);
  Stop stop;
  stop_at("erase_compact", stop);
  open();
  begin(gone);
  stop.wait();
  std::thread closer([&] { history_.reset(); });
  stop.go_on();
  closer.join();
  scribe_.options.fault_point = nullptr;
  open();
  expect_rest(gone);
  begin(gone);
  ASSERT_TRUE(end().ok());
  for (const int i : gone) EXPECT_FALSE(on_disk(i)) << i;
  expect_rest(gone);
}

TEST_F(HistoryEraseTest, AFullDiskEndsTheEraseAndNothingElse) {
  Stop stop;
  stop_at("erase_compact", stop);
  open();
  write_segments(4, 200);
  begin({7});
  stop.wait();
  {
    const SmallFiles full(64 << 10);
    stop.go_on();
    const Status status = end();
    EXPECT_FALSE(status.ok());
  }
  write_segments(1, 60);
  expect_rest({7});
  begin({7});
  const Status status = end();
  ASSERT_TRUE(status.ok()) << status.error().to_string();
  EXPECT_FALSE(on_disk(7));
  write_segments(1, 60);
  expect_rest({7});
}

TEST_F(HistoryEraseTest, ACheckpointBesideItIsWholeAndKeepsWhatItLinked) {
  Stop stop;
  stop_at("erase_compact", stop);
  open();
  write_segments(3, 60);
  begin({7});
  stop.wait();
  const fs::path copy = scribe_.folder / "copy";
  ASSERT_TRUE(history_->checkpoint(copy.string()).ok());
  stop.go_on();
  ASSERT_TRUE(end().ok());
  EXPECT_FALSE(on_disk(7));
  EXPECT_FALSE(files_with(copy, mark_of(7)).empty()) << "a backup is not the store's own";
  history_.reset();
  fs::remove_all(scribe_.path());
  fs::rename(copy, scribe_.path());
  scribe_.options.fault_point = nullptr;
  open();
  expect_rest({7});
  begin({7});
  ASSERT_TRUE(end().ok());
  EXPECT_FALSE(on_disk(7));
}

}  // namespace
}  // namespace dunlin::embedded

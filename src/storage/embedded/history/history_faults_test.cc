#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "base/log.h"
#include "storage/embedded/history/history.h"
#include "storage/embedded/history/testing/faulty_rocks_files.h"
#include "storage/embedded/history/testing/history_scribe.h"

namespace dunlin::embedded {
namespace {

namespace fs = std::filesystem;
using Call = FaultyRocksFiles::Call;
using Effect = FaultyRocksFiles::Effect;

bool is_reading(Call call) {
  return std::ranges::find(FaultyRocksFiles::kReading, call) != FaultyRocksFiles::kReading.end();
}

class HistoryFaultsTest : public testing::Test {
 protected:
  void SetUp() override {
    set_log_level(LogLevel::Off);
    scribe.options.files = files->file_system();
    history = scribe.open();
    ASSERT_TRUE(history) << scribe.last_error.to_string();
  }
  void TearDown() override {
    history.reset();
    set_log_level(LogLevel::Info);
  }
  void write() {
    for (int i = 0; i < 12; ++i) scribe.write("ada", i % 2 ? "bob" : "cyn", std::string(300, 'x'));
    segment = scribe.seal();
  }
  // Every message up to the position is there once, or below the watermark.
  void expect_all_readable(History& in) const {
    for (const auto& [id, messages] : scribe.messages) {
      std::size_t expected = 0;
      while (expected < messages.size() && messages[expected]->place().position <= in.position()) ++expected;
      const auto head = in.head(id);
      ASSERT_TRUE(head.ok()) << head.error().to_string();
      ASSERT_EQ(head->has_value(), expected != 0);
      if (!*head) continue;
      EXPECT_EQ((*head)->last_seq.value(), expected);
      const auto page = in.range(**head, HistoryScribe::all_of(id));
      ASSERT_TRUE(page.ok()) << page.error().to_string();
      for (const SeqGap& gap : page->gaps) EXPECT_EQ(gap.reason, GapReason::Truncated);
      const std::uint64_t first = (*head)->first_readable.value();
      ASSERT_EQ(page->messages.size() + first - 1, expected);
      for (std::size_t i = 0; i < page->messages.size(); ++i) EXPECT_TRUE(same_message(*page->messages[i], *messages[first - 1 + i]));
      EXPECT_TRUE(first == 1 || messages[first - 2]->place().position <= in.trimmed_through());
      const Message& last = *messages[expected - 1];
      const auto found = in.dedup(HistoryScribe::dedup_of(last).key);
      ASSERT_TRUE(found.ok());
      const bool expired = from_ms(static_cast<std::int64_t>(last.place().time_ms)) + std::chrono::hours(24) < scribe.clock.wall();
      EXPECT_TRUE(*found || expired);
    }
  }
  // What a kill -9 at this moment would leave.
  void expect_opens_as_it_is(LogPosition least) {
    const std::string copy = (scribe.folder / "copy").string();
    fs::remove_all(copy);
    fs::copy(scribe.path(), copy, fs::copy_options::recursive);
    HistoryOptions options = scribe.options;
    options.path = copy;
    options.files = nullptr;
    auto opened = History::open(options);
    ASSERT_TRUE(opened.ok()) << opened.error().to_string();
    EXPECT_GE((*opened)->position(), least);
    expect_all_readable(**opened);
    if ((*opened)->position() < segment.last) {
      const Status again = (*opened)->ingest(segment);
      ASSERT_TRUE(again.ok()) << again.error().to_string();
      expect_all_readable(**opened);
    }
  }
  void begin_anew() {
    history.reset();
    fs::remove_all(scribe.path());
    scribe.back_to({});
    history = scribe.open();
    ASSERT_TRUE(history) << scribe.last_error.to_string();
  }
  std::shared_ptr<FaultyRocksFiles> files = std::make_shared<FaultyRocksFiles>();
  HistoryScribe scribe;
  SealedSegment segment;
  std::unique_ptr<History> history;
};

class HistoryFaults : public HistoryFaultsTest, public testing::WithParamInterface<Call> {
 protected:
  // Each way to fail a call, one of `not_made` excepted: what it leaves behind, its error, how often. So few for one folder that no
  // compaction begins: it would go on while the folder is copied.
  template <class P, class F>
  void each_fault(const std::vector<Call>& not_made, P prepare, F test) {
    const Call call = GetParam();
    int reached = 0;
    for (const Effect effect : {Effect::None, Effect::Done}) {
      if (effect == Effect::Done && is_reading(call)) continue;
      begin_anew();
      prepare();
      for (std::uint64_t skip = 0; skip < 40; skip += skip < 5 ? 1 : 6) {
        const ErrorCode code = (skip + static_cast<std::uint64_t>(effect)) % 2 != 0 ? ErrorCode::NoSpace : ErrorCode::Io;
        SCOPED_TRACE("skip " + std::to_string(skip) + (effect == Effect::Done ? ", with its effect" : "") +
                     (code == ErrorCode::Io ? "" : ", no space"));
        const auto begin = [&] { files->fail({call}, skip, code, effect, skip % 3 == 2 ? 3 : 1); };
        test(begin);
        if (HasFailure()) return;
        reached += files->reached() ? 1 : 0;
        if (!files->reached()) break;
      }
    }
    EXPECT_EQ(reached == 0, std::ranges::find(not_made, call) != not_made.end());
  }
};

TEST_P(HistoryFaults, AnIngestIsTriedAgainAndNothingIsMissing) {
  int ingests = 0;
  each_fault(
      {}, [] {},
      [&](const auto& begin) {
        if (++ingests % 3 == 0) scribe.clock.advance(std::chrono::hours(25));  // a new volume
        write();
        const LogPosition before = history->position();
        begin();
        for (int tries = 0; history->position() < segment.last; ++tries) {
          ASSERT_LT(tries, 10);
          const Status status = history->ingest(segment);
          EXPECT_EQ(status.ok(), history->position() == segment.last);
          if (status.ok()) continue;
          EXPECT_TRUE(status.error().code() == ErrorCode::Io || status.error().code() == ErrorCode::NoSpace) << status.error().to_string();
          if (tries == 0) expect_opens_as_it_is(before);
        }
        files->heal();
        expect_all_readable(*history);
        if (files->reached()) expect_opens_as_it_is(segment.last);
      });
}

TEST_P(HistoryFaults, RetentionIsTriedAgainAndShowsNoHole) {
  scribe.options.retention = std::chrono::hours(48);
  each_fault(
      {Call::MakeFolder}, [] {},
      [&](const auto& begin) {
        write();
        ASSERT_TRUE(history->ingest(segment).ok());
        const LogPosition old = segment.last;
        scribe.clock.advance(std::chrono::hours(50));
        begin();
        for (int tries = 0; history->trimmed_through() < old; ++tries) {
          ASSERT_LT(tries, 10);
          const Status status = history->retain(scribe.clock.wall());
          if (!status.ok()) {
            EXPECT_TRUE(status.error().code() == ErrorCode::Io || status.error().code() == ErrorCode::NoSpace)
                << status.error().to_string();
          }
          expect_opens_as_it_is(segment.last);
        }
        files->heal();
        ASSERT_TRUE(history->retain(scribe.clock.wall()).ok());
        EXPECT_EQ(history->stats().volumes, 0U);
      });
}

TEST_P(HistoryFaults, AnOpeningIsRefusedOrDoesAll) {
  const auto prepare = [&] {
    for (int i = 0; i < 3; ++i) {
      write();
      ASSERT_TRUE(history->ingest(segment).ok());
      scribe.clock.advance(std::chrono::hours(25));
    }
  };
  each_fault({Call::Link}, prepare, [&](const auto& begin) {
    history.reset();
    begin();
    history = scribe.open();
    files->heal();
    if (!history) {
      EXPECT_TRUE(scribe.last_error.code() == ErrorCode::Io || scribe.last_error.code() == ErrorCode::NoSpace)
          << scribe.last_error.to_string();
      expect_opens_as_it_is(segment.last);
      history = scribe.open();
    }
    ASSERT_TRUE(history) << scribe.last_error.to_string();
    EXPECT_EQ(history->position(), segment.last);
    expect_all_readable(*history);
    write();
    const Status status = history->ingest(segment);
    ASSERT_TRUE(status.ok()) << status.error().to_string();
    expect_all_readable(*history);
  });
}

TEST_P(HistoryFaults, ANewOneIsMadeOrMadeTheNextTime) {
  each_fault(
      {Call::Reopen, Call::Link}, [] {},
      [&](const auto& begin) {
        history.reset();
        fs::remove_all(scribe.path());
        begin();
        history = scribe.open();
        files->heal();
        if (!history) {
          EXPECT_TRUE(scribe.last_error.code() == ErrorCode::Io || scribe.last_error.code() == ErrorCode::NoSpace)
              << scribe.last_error.to_string();
          history = scribe.open();
        }
        ASSERT_TRUE(history) << scribe.last_error.to_string();
        scribe.back_to({});
        write();
        const Status status = history->ingest(segment);
        ASSERT_TRUE(status.ok()) << status.error().to_string();
        expect_opens_as_it_is(segment.last);
      });
}

// RocksDB waits a second behind each compaction that failed, so there is one.
TEST_F(HistoryFaultsTest, ACompactionThatFailsStopsNoIngestAndCostsNothing) {
  files->only([](std::string_view path) { return path.ends_with(".sst") && path.find("/incoming/") == path.npos; });
  files->fail({Call::Append}, 0, ErrorCode::NoSpace, Effect::None);
  for (int i = 0; i < 50 && !(i > 35 && files->reached()); ++i) {
    write();
    const Status status = history->ingest(segment);
    ASSERT_TRUE(status.ok()) << status.error().to_string();
  }
  EXPECT_TRUE(files->reached());
  expect_all_readable(*history);
  write();
  ASSERT_TRUE(history->ingest(segment).ok());
  history = nullptr;
  history = scribe.open();
  ASSERT_TRUE(history) << scribe.last_error.to_string();
  EXPECT_EQ(history->position(), segment.last);
  expect_all_readable(*history);
}

INSTANTIATE_TEST_SUITE_P(EachCall, HistoryFaults, testing::ValuesIn(FaultyRocksFiles::all_calls()));

}  // namespace
}  // namespace dunlin::embedded

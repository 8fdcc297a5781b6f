#include <gtest/gtest.h>
#include <rocksdb/options.h>
#include <rocksdb/sst_file_reader.h>

#include <fstream>
#include <random>
#include <set>
#include <thread>

#include "storage/embedded/history/history.h"
#include "storage/embedded/history/rows.h"
#include "storage/embedded/history/testing/history_scribe.h"

namespace dunlin::embedded {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> files_of(const fs::path& folder, std::string_view part) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().filename().string().find(part) != std::string::npos) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::string contents(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void overwrite(const fs::path& file, std::string_view bytes) {
  std::ofstream(file, std::ios::binary | std::ios::trunc) << bytes;
}

class HistoryDamageTest : public ::testing::Test {
 protected:
  void open() {
    history.reset();
    history = scribe.open();
    ASSERT_TRUE(history) << scribe.last_error.to_string();
  }
  void ingest() {
    const Status status = scribe.ingest(*history);
    ASSERT_TRUE(status.ok()) << status.error().to_string();
  }
  void write_segments(int count) {
    std::mt19937 random(5);
    for (int segment = 0; segment < count; ++segment) {
      for (int i = 0; i < 60; ++i)
        scribe.write("user" + std::to_string(random() % 5), "user" + std::to_string(random() % 5), std::string(400, 'b'));
      ingest();
    }
  }
  // Every message is read whole or named by a gap; the number in gaps.
  std::uint64_t expect_covered() {
    std::uint64_t missing = 0;
    for (const auto& [id, messages] : scribe.messages) {
      const auto head = history->head(id);
      if (!head.ok() || !*head) {
        missing += messages.size();
        continue;
      }
      for (const bool newest_first : {false, true}) {
        std::set<std::uint64_t> covered;
        auto query = HistoryScribe::all_of(id);
        query.newest_first = newest_first;
        query.to = messages.back()->seq();
        query.max_messages = 23;
        for (bool more = true; more;) {
          const auto page = history->range(**head, query);
          if (!page.ok()) {
            ADD_FAILURE() << page.error().to_string();
            break;
          }
          for (const auto& message : page->messages) {
            EXPECT_TRUE(covered.insert(message->seq().value()).second);
            EXPECT_TRUE(same_message(*message, *messages[message->seq().value() - 1]));
          }
          for (const auto& gap : page->gaps) {
            EXPECT_EQ(gap.reason, GapReason::Corrupt);
            for (auto seq = gap.from; seq <= gap.to; seq = seq.next()) EXPECT_TRUE(covered.insert(seq.value()).second);
            if (!newest_first) missing += gap.to.value() - gap.from.value() + 1;
          }
          more = page->more && !covered.empty();
          if (newest_first && !covered.empty()) query.to = MessageSeq(*covered.begin() - 1);
          if (!newest_first && !covered.empty()) query.from = MessageSeq(*covered.rbegin() + 1);
        }
        EXPECT_EQ(covered.size(), messages.size());
      }
    }
    return missing;
  }

  HistoryScribe scribe;
  std::unique_ptr<History> history;
};

TEST_F(HistoryDamageTest, FlippedBitsInAnyFileCostOnlyGapsAndErrors) {
  open();
  write_segments(6);
  history.reset();
  const fs::path sound = scribe.folder / "sound";
  fs::rename(scribe.path(), sound);
  const HistoryScribe::Mark mark = scribe.mark();
  std::mt19937 random(17);
  std::uint64_t gaps_seen = 0;
  for (const fs::path& file : files_of(sound, ".sst")) {
    for (int round = 0; round < 3; ++round) {
      fs::copy(sound, scribe.path(), fs::copy_options::recursive);
      std::string bytes = contents(file);
      const std::size_t at = random() % bytes.size();
      bytes[at] = static_cast<char>(bytes[at] ^ (1 << (random() % 8)));
      overwrite(fs::path(scribe.path()) / file.filename(), bytes);
      SCOPED_TRACE(file.filename().string() + " at " + std::to_string(at));
      history = scribe.open();
      if (!history) {  // the family of position and volumes: metadata
        EXPECT_EQ(scribe.last_error.code(), ErrorCode::Corrupt);
        EXPECT_NE(scribe.last_error.context().find("dunlin restore"), std::string::npos);
      } else {
        gaps_seen += expect_covered();
        scribe.write("late", "comer", "still writable");
        ingest();
        history.reset();
        scribe.back_to(mark);
      }
      fs::remove_all(scribe.path());
    }
  }
  EXPECT_GT(gaps_seen, 0u);
}

TEST_F(HistoryDamageTest, ADamagedBlockStopsNeitherIngestNorOtherCompactions) {
  open();
  write_segments(3);
  history.reset();
  std::size_t damaged = 0;
  for (const fs::path& file : files_of(scribe.path(), ".sst")) {
    std::string bytes = contents(file);
    if (bytes.size() < 20'000) continue;  // the timelines
    bytes[bytes.size() / 3] = static_cast<char>(~bytes[bytes.size() / 3]);
    overwrite(file, bytes);
    ++damaged;
    break;
  }
  ASSERT_EQ(damaged, 1u);
  open();
  const std::uint64_t missing = expect_covered();
  EXPECT_GT(missing, 0u);
  EXPECT_LT(missing, 100u);
  EXPECT_EQ(history->stats().corrupt_files, 1u);
  write_segments(80);  // far beyond the number of files at which compaction begins
  EXPECT_EQ(history->stats().volumes, 2u) << "the indexer turns to a volume without damage";
  EXPECT_EQ(expect_covered(), missing);
}

TEST_F(HistoryDamageTest, ACompactionThatMeetsDamageFirstDoesNotStopIngest) {
  open();
  write_segments(31);
  history.reset();
  for (const fs::path& file : files_of(scribe.path(), ".sst")) {
    std::string bytes = contents(file);
    if (bytes.size() < 20'000) continue;
    bytes[1000] = static_cast<char>(~bytes[1000]);
    overwrite(file, bytes);
    break;
  }
  open();
  write_segments(1);  // the 32nd file begins a compaction, which runs when the CPU has nothing else to do
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (history->stats().corrupt_files == 0 && std::chrono::steady_clock::now() < deadline)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  ASSERT_EQ(history->stats().corrupt_files, 1u);
  write_segments(20);
  EXPECT_EQ(history->stats().volumes, 2u);
  EXPECT_EQ(history->position(), LogPosition(scribe.position));
  EXPECT_GT(expect_covered(), 0u);
}

TEST_F(HistoryDamageTest, AMissingFileCostsItsRowsOnly) {
  open();
  write_segments(4);
  history.reset();
  for (const fs::path& file : files_of(scribe.path(), ".sst")) {
    if (fs::file_size(file) < 20'000) continue;
    fs::remove(file);
    break;
  }
  open();
  const std::uint64_t missing = expect_covered();
  EXPECT_GE(missing, 1u);
  EXPECT_LE(missing, 60u);
  write_segments(2);
  EXPECT_EQ(expect_covered(), missing);
}

// Files that hold the head of `conversation`.
std::vector<fs::path> heads_files(const fs::path& folder, const ConversationId& conversation) {
  std::vector<fs::path> heads;
  const std::string key = heads_key(conversation.view());
  for (const fs::path& file : files_of(folder, ".sst")) {
    rocksdb::SstFileReader reader{rocksdb::Options()};
    if (!reader.Open(file.string()).ok()) continue;
    const std::unique_ptr<rocksdb::Iterator> rows(reader.NewIterator({}));
    for (rows->SeekToFirst(); rows->Valid(); rows->Next()) {
      if (rows->key() != key) continue;
      heads.push_back(file);
      break;
    }
  }
  return heads;
}

TEST_F(HistoryDamageTest, ADamagedHeadIsAnErrorOrRightAndNeverAnOlderOne) {
  open();
  for (int segment = 0; segment < 3; ++segment) {
    for (int i = 0; i < 12; ++i) scribe.write("ada", "peer" + std::to_string(i), "x");
    ingest();
  }
  history.reset();
  const fs::path sound = scribe.folder / "sound";
  fs::rename(scribe.path(), sound);
  const HistoryScribe::Mark mark = scribe.mark();
  const auto files = heads_files(sound, private_conversation("ada", "peer0"));
  ASSERT_FALSE(files.empty());
  std::uint64_t refused = 0;
  const auto check = [&] {
    for (const auto& [id, expected] : scribe.heads) {
      const auto head = history->head(id);
      if (!head.ok()) {
        ++refused;
        continue;
      }
      ASSERT_TRUE(*head) << "seq 1 would be given again in " << id.str();
      ASSERT_EQ((*head)->last_seq, expected.last_seq) << id.str();
    }
  };
  const auto try_with = [&](const fs::path& file, const std::string& bytes, const std::string& what) {
    SCOPED_TRACE(file.filename().string() + " " + what);
    fs::copy(sound, scribe.path(), fs::copy_options::recursive);
    if (what == "missing") {
      fs::remove(fs::path(scribe.path()) / file.filename());
    } else {
      overwrite(fs::path(scribe.path()) / file.filename(), bytes);
    }
    history = scribe.open();
    if (!history) {
      EXPECT_EQ(scribe.last_error.code(), ErrorCode::Corrupt);
      EXPECT_NE(scribe.last_error.context().find("dunlin restore"), std::string::npos);
    } else {
      ASSERT_NO_FATAL_FAILURE(check());
      // What follows overwrites some heads, and merges the files.
      for (int segment = 0; segment < 2; ++segment) {
        for (int i = 0; i < 6; ++i) scribe.write("ada", "peer" + std::to_string(i), "y");
        ingest();
      }
      ASSERT_NO_FATAL_FAILURE(check());
      history.reset();
      scribe.back_to(mark);
    }
    fs::remove_all(scribe.path());
  };
  for (const fs::path& file : files) {
    const std::string bytes = contents(file);
    try_with(file, {}, "missing");
    try_with(file, {}, "empty");
    try_with(file, bytes.substr(0, bytes.size() / 2), "cut");
    try_with(file, std::string(bytes.size(), '\0'), "zeros");
    for (std::size_t at = 0; at < bytes.size() && !HasFailure(); at += bytes.size() / 40 + 1) {
      std::string changed = bytes;
      changed[at] = static_cast<char>(changed[at] ^ 0x10);
      try_with(file, changed, "at " + std::to_string(at));
    }
    if (HasFailure()) return;
  }
  EXPECT_GT(refused, 0u);
}

TEST_F(HistoryDamageTest, DamagedMetadataRefusesTheStartAndNamesTheCommand) {
  open();
  write_segments(2);
  history.reset();
  const auto expect_refused = [&] {
    EXPECT_EQ(scribe.open(), nullptr);
    EXPECT_EQ(scribe.last_error.code(), ErrorCode::Corrupt) << scribe.last_error.to_string();
    EXPECT_NE(scribe.last_error.context().find("dunlin restore"), std::string::npos) << scribe.last_error.to_string();
  };
  const fs::path current = fs::path(scribe.path()) / "CURRENT";
  const std::string whole = contents(current);
  overwrite(current, "MANIFEST-777777\n");
  expect_refused();
  fs::remove(current);
  expect_refused();
  overwrite(current, whole);
  const fs::path manifest = files_of(scribe.path(), "MANIFEST").back();
  std::string bytes = contents(manifest);
  const std::string manifest_whole = bytes;
  bytes[bytes.size() / 2] = static_cast<char>(~bytes[bytes.size() / 2]);
  overwrite(manifest, bytes);
  expect_refused();
  overwrite(manifest, manifest_whole);
  open();
  EXPECT_EQ(expect_covered(), 0u);
}

TEST_F(HistoryDamageTest, VerificationNamesConversationAndSeqs) {
  open();
  write_segments(3);
  history.reset();
  std::vector<CorruptInterval> found;
  const auto collect = [&](const CorruptInterval& interval) { found.push_back(interval); };
  auto report = verify_history(scribe.path(), collect);
  ASSERT_TRUE(report.ok()) << report.error().to_string();
  EXPECT_EQ(report->records, scribe.position);
  EXPECT_EQ(report->position, LogPosition(scribe.position));
  EXPECT_TRUE(found.empty());
  for (const fs::path& file : files_of(scribe.path(), ".sst")) {
    std::string bytes = contents(file);
    if (bytes.size() < 20'000) continue;
    bytes[2000] = static_cast<char>(~bytes[2000]);
    overwrite(file, bytes);
    break;
  }
  report = verify_history(scribe.path(), collect);
  ASSERT_TRUE(report.ok());
  ASSERT_FALSE(found.empty());
  std::uint64_t missing = 0;
  for (const auto& interval : found) {
    EXPECT_TRUE(scribe.messages.contains(interval.conversation));
    missing += interval.to.value() - interval.from.value() + 1;
  }
  EXPECT_EQ(report->records + missing, scribe.position);
}

// Whether the file begins with the rows that say which record stands at each position.
bool begins_with_order(const fs::path& file) {
  rocksdb::SstFileReader reader{rocksdb::Options()};
  if (!reader.Open(file.string()).ok()) return false;
  const std::unique_ptr<rocksdb::Iterator> rows(reader.NewIterator({}));
  rows->SeekToFirst();
  std::vector<OrderEntry> order;
  return rows->Valid() && decode_order(rows->key().ToStringView(), rows->value().ToStringView(), order);
}

TEST_F(HistoryDamageTest, TheFeedGivesAllMessagesAlsoWhereItsOrderIsDamaged) {
  open();
  write_segments(6);
  history.reset();
  std::vector<fs::path> files;
  for (const fs::path& file : files_of(scribe.path(), ".sst")) {
    if (begins_with_order(file)) files.push_back(file);
  }
  ASSERT_EQ(files.size(), 6U);
  // One of each kind: the first of the log, one in the middle, the last.
  for (const fs::path& file : {files[0], files[3], files[5]}) {
    std::string bytes = contents(file);
    std::fill_n(bytes.begin(), 64, '\xA5');  // its first block: the order rows
    overwrite(file, bytes);
  }
  open();
  std::uint64_t expected = 0;
  LogPosition after;
  const std::uint64_t rows_before = history->stats().rows_read;
  while (after < history->position()) {
    const auto page = history->feed(after, 41);
    ASSERT_TRUE(page.ok()) << page.error().to_string();
    ASSERT_FALSE(page->reset);
    ASSERT_GT(page->next, after) << "a feed that does not move on ends for its follower";
    for (const auto& message : page->messages) EXPECT_EQ(message->place().position.value(), ++expected);
    after = page->next;
  }
  EXPECT_EQ(expected, scribe.position);
  EXPECT_GT(history->stats().rows_read - rows_before, 2 * scribe.position) << "nothing was scanned: the damage was not met";
}

}  // namespace
}  // namespace dunlin::embedded

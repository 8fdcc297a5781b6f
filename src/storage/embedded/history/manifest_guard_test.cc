#include "storage/embedded/history/manifest_guard.h"

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <thread>

#include "storage/embedded/history/history.h"
#include "storage/embedded/history/testing/faulty_rocks_files.h"
#include "storage/embedded/history/testing/history_scribe.h"

namespace dunlin::embedded {
namespace {

namespace fs = std::filesystem;

class ManifestGuardTest : public ::testing::Test {
 protected:
  void SetUp() override {
    faults->only([](std::string_view path) { return path.find("MANIFEST-") != path.npos; });
    scribe.options.files = faults->file_system();
    history = scribe.open();
    ASSERT_TRUE(history) << scribe.last_error.to_string();
  }
  // Calls on the manifest fail after they have had their effect, which is what a failed sync may mean.
  void fail(int skip, int times = 1) {
    using enum FaultyRocksFiles::Call;
    faults->fail({Append, Sync}, static_cast<std::uint64_t>(skip), ErrorCode::Io, FaultyRocksFiles::Effect::Done,
                 static_cast<std::uint64_t>(times));
  }
  void write() {
    for (int i = 0; i < 20; ++i) scribe.write("ada", i % 2 ? "bob" : "cyn", "x");
  }
  Status ingest_new() {
    write();
    segment = scribe.seal();
    return history->ingest(segment);
  }
  void expect_all_readable(History& in) {
    ASSERT_EQ(in.position(), LogPosition(scribe.position));
    for (const auto& [id, messages] : scribe.messages) {
      const auto head = in.head(id);
      ASSERT_TRUE(head.ok() && *head);
      const auto page = in.range(**head, {id, MessageSeq(1), (*head)->last_seq, 1000, 1 << 20});
      ASSERT_TRUE(page.ok());
      EXPECT_EQ(page->messages.size(), messages.size());
    }
  }
  // What a kill -9 at this moment would leave.
  void expect_opens_as_it_is() {
    const std::string copy = (scribe.folder / "copy").string();
    fs::remove_all(copy);
    fs::copy(scribe.path(), copy, fs::copy_options::recursive);
    HistoryOptions options = scribe.options;
    options.path = copy;
    options.files = nullptr;
    auto opened = History::open(options);
    ASSERT_TRUE(opened.ok()) << opened.error().to_string();
    if ((*opened)->position() < segment.last) {
      const Status again = (*opened)->ingest(segment);
      ASSERT_TRUE(again.ok()) << again.error().to_string();
    }
    expect_all_readable(**opened);
  }
  std::size_t table_files() const {
    std::size_t count = 0;
    for (const auto& entry : fs::directory_iterator(scribe.path())) count += entry.path().extension() == ".sst";
    return count;
  }

  std::shared_ptr<FaultyRocksFiles> faults = std::make_shared<FaultyRocksFiles>();
  HistoryScribe scribe;
  SealedSegment segment;
  std::unique_ptr<History> history;
};

TEST_F(ManifestGuardTest, WhicheverManifestCallFailsWithItsEffectTheStoreOpensAfterAKill) {
  int failed = 0;
  for (int skip = 0; skip < 12; ++skip) {
    fail(skip);
    const Status status = ingest_new();
    const bool hit = faults->reached();
    faults->heal();
    EXPECT_EQ(status.ok(), !hit) << skip;
    expect_opens_as_it_is();
    if (HasFatalFailure()) return;
    if (!hit) continue;
    ++failed;
    const Status again = history->ingest(segment);
    ASSERT_TRUE(again.ok()) << skip << ": " << again.error().to_string();
    expect_all_readable(*history);
  }
  EXPECT_GE(failed, 4) << "an ingest has several calls to fail";
}

TEST_F(ManifestGuardTest, WhatWasPutOffIsDeletedWhenThereIsANewManifest) {
  ASSERT_TRUE(ingest_new().ok());
  const std::size_t before = table_files();
  ASSERT_TRUE(ingest_new().ok());
  const std::size_t of_one = table_files() - before;
  fail(3);  // the numbers are reserved, its own entry fails
  ASSERT_FALSE(ingest_new().ok());
  EXPECT_GT(table_files(), before + of_one) << "the files of the failed ingest stay while the manifest may name them";
  ASSERT_TRUE(history->ingest(segment).ok());
  ASSERT_TRUE(ingest_new().ok());
  EXPECT_EQ(table_files(), before + 3 * of_one);
}

TEST_F(ManifestGuardTest, ItGoesOnAfterManyFailuresInARow) {
  ASSERT_TRUE(ingest_new().ok());
  for (int failures = 1; failures <= 12; ++failures) {
    for (int skip = 0; skip < 6; ++skip) {
      write();
      segment = scribe.seal();
      fail(skip, failures);
      int tries = 0;
      while (history->position() < segment.last && tries++ < 40) {
        const Status status = history->ingest(segment);
        EXPECT_TRUE(status.ok() || status.error().code() != ErrorCode::Corrupt) << status.error().to_string();
      }
      faults->heal();
      ASSERT_LT(tries, 40) << failures << " failures after " << skip;
    }
  }
  expect_all_readable(*history);
}

// The erase beside a manifest in doubt: content is gone when it says so, and not before.
TEST_F(ManifestGuardTest, ErasingEndsWhenThereIsANewManifestAndTheFilesAreGone) {
  const auto has_text = [&](const std::string& text) {
    for (const auto& entry : fs::directory_iterator(scribe.path())) {
      if (!entry.is_regular_file()) continue;
      std::ifstream in(entry.path(), std::ios::binary);
      if (std::string(std::istreambuf_iterator<char>(in), {}).find(text) != std::string::npos) return true;
    }
    return false;
  };
  const auto end = [&] {
    for (int i = 0; i < 6000; ++i) {
      if (auto status = history->erase_done()) return *std::move(status);
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return Status(Error(ErrorCode::Internal, "the erase does not end"));
  };
  std::atomic<int> skip_in_compaction = -1;
  history.reset();
  scribe.options.fault_point = [&](std::string_view at) {
    if (at != "erase_compact" || skip_in_compaction < 0) return;
    fail(skip_in_compaction);
  };
  history = scribe.open();
  ASSERT_TRUE(history);
  for (int round = 0; round < 6; ++round) {
    const std::string text = "\"secret " + std::to_string(round) + "\"";
    const MessagePtr secret = scribe.write("ada", "bob", text);
    const std::vector<RecalledRecord> records{{secret->place().conversation_number, secret->seq(), secret->place().position}};
    ASSERT_TRUE(ingest_new().ok());
    ASSERT_TRUE(ingest_new().ok());
    ASSERT_TRUE(has_text(text));
    if (round == 0) {  // the doubt is there before
      fail(3);
      ASSERT_FALSE(ingest_new().ok());
    }
    skip_in_compaction = round - 1;
    ASSERT_TRUE(history->begin_erase(records).ok());
    Status status = end();
    faults->heal();
    skip_in_compaction = -1;
    if (!status.ok()) {
      ASSERT_TRUE(history->begin_erase(records).ok());
      status = end();
    }
    ASSERT_TRUE(status.ok()) << round << ": " << status.error().to_string();
    EXPECT_FALSE(has_text(text)) << round;
    if (round == 0) {
      ASSERT_TRUE(history->ingest(segment).ok());
    }
    const auto head = history->head(private_conversation("ada", "bob"));
    ASSERT_TRUE(head.ok() && *head);
    const auto page = history->range(**head, HistoryScribe::all_of(private_conversation("ada", "bob")));
    ASSERT_TRUE(page.ok());
    EXPECT_EQ(page->messages.size() + static_cast<std::size_t>(round) + 1,
              scribe.heads[private_conversation("ada", "bob")].last_seq.value());
    for (const auto& gap : page->gaps) EXPECT_EQ(gap.reason, GapReason::NotVisible);
  }
  history = nullptr;
  scribe.options.files = nullptr;
  history = scribe.open();
  ASSERT_TRUE(history) << scribe.last_error.to_string();
  EXPECT_EQ(history->position(), LogPosition(scribe.position));
}

}  // namespace
}  // namespace dunlin::embedded

#include "storage/embedded/log/window.h"

#include <gtest/gtest.h>

#include "storage/embedded/log/log_harness.h"

namespace dunlin::embedded {
namespace {

class WindowTest : public testing::Test {
 protected:
  static LogHarness::Options keeping(std::uint64_t bytes) {
    LogHarness::Options options;
    options.keep_bytes = bytes;
    return options;
  }
  // Three messages from ann to ben that have entered history.
  static void store_three(LogHarness& store) {
    const SessionKey session = store.open_session();
    for (const char* id : {"m1", "m2", "m3"}) ASSERT_FALSE(store.send(session, "ann", "ben", id).refused);
    ASSERT_TRUE(store.writer->seal().ok());
    store.index();
    ASSERT_EQ(store.window.oldest_sealed(), nullptr);
  }

  FaultyFileSystem files_{1};
  FakeHistory history_;
};

TEST_F(WindowTest, WhatHistoryHoldsLeavesAtOnceWhenNothingIsToBeKept) {
  LogHarness store(files_, history_);
  store_three(store);
  EXPECT_EQ(store.window.record_bytes(), 0U);
  EXPECT_FALSE(store.reader.news_since_in_memory({.user = UserId("ben"), .after = LogPosition(0), .known = LogPosition(0)}).has_value());
}

TEST_F(WindowTest, WhatHistoryHoldsIsReadFromMemoryAsLongAsThereIsRoom) {
  LogHarness store(files_, history_, keeping(1 << 20));
  store_three(store);
  EXPECT_GT(store.window.record_bytes(), 0U);
  EXPECT_LT(store.window.waiting_bytes(), store.window.bytes()) << "but it does not wait for history";
  const auto news = store.reader.news_since_in_memory({.user = UserId("ben"), .after = LogPosition(1), .known = LogPosition(1)});
  ASSERT_TRUE(news);
  ASSERT_EQ(news->ranges.size(), 1U);
  EXPECT_EQ(news->ranges[0].page.messages.size(), 2U);
  EXPECT_EQ(news->activity.scanned_to, LogPosition(3));
}

TEST_F(WindowTest, TheOldestPartLeavesWhenThereIsNoRoomAndTakesItsPositionsAlong) {
  LogHarness store(files_, history_);
  store_three(store);
  const std::uint64_t empty = store.window.bytes();  // the tables
  FaultyFileSystem files(2);
  FakeHistory history;
  LogHarness keeping_some(files, history, keeping(empty + 500));
  for (int part = 0; part < 4; ++part) {
    const SessionKey session = keeping_some.open_session();
    ASSERT_FALSE(keeping_some.send(session, "ann", "ben", "p" + std::to_string(part)).refused);
    ASSERT_TRUE(keeping_some.writer->seal().ok());
    keeping_some.index();
  }
  EXPECT_GT(keeping_some.window.floor(), LogPosition(0));
  EXPECT_LT(keeping_some.window.floor(), LogPosition(4));
  const NewsQuery below{.user = UserId("ben"), .after = keeping_some.window.floor().prev(), .known = LogPosition(0)};
  EXPECT_FALSE(keeping_some.reader.news_since_in_memory(below).has_value());
  EXPECT_EQ(keeping_some.all_of(private_conversation("ann", "ben")).messages.size(), 4U);
}

TEST_F(WindowTest, WhatRetentionHasRemovedLeavesWithRoomOrWithout) {
  LogHarness store(files_, history_, keeping(1 << 20));
  store_three(store);
  EXPECT_FALSE(store.window.can_evict());
  store.window.trim(LogPosition(3));
  EXPECT_TRUE(store.window.can_evict());
  store.committer->run_once(std::chrono::milliseconds(0));
  EXPECT_EQ(store.window.record_bytes(), 0U);
}

}  // namespace
}  // namespace dunlin::embedded

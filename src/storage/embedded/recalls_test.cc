#include "storage/embedded/recalls.h"

#include <gtest/gtest.h>

#include <atomic>
#include <optional>
#include <thread>

#include "base/log.h"
#include "storage/embedded/log/testing/log_harness.h"

namespace dunlin::embedded {
namespace {

using Rows = LogHarness::RowsInMemory;

MessagePlace place(std::uint64_t number, std::uint64_t seq, std::uint64_t position) {
  MessagePlace out;
  out.conversation_number = number;
  out.seq = MessageSeq(seq);
  out.position = LogPosition(position);
  return out;
}

MessagePtr message(std::uint64_t number, std::uint64_t seq, std::uint64_t position) {
  MessagePtr m = Message::create({"p3:ann:ben", "ann", "id", "", "{}"});
  m->set_place(place(number, seq, position));
  return m;
}

FeedPage page_of(std::vector<MessagePtr> messages) {
  FeedPage page;
  page.messages = std::move(messages);
  return page;
}

class RecallsTest : public testing::Test {
 protected:
  RecallsTest() { set_log_level(LogLevel::Off); }
  ~RecallsTest() override { set_log_level(LogLevel::Info); }
  std::size_t shown(const std::vector<MessagePtr>& messages) {
    const Recalls::Reading reading(recalls_);
    FeedPage page = page_of(messages);
    reading.hide(page);
    return page.messages.size();
  }
  void finish(std::uint64_t number, std::uint64_t seq, std::uint64_t position) {
    recalls_.begin_round();
    recalls_.end_round();
    const RecalledRecord record{number, MessageSeq(seq), LogPosition(position)};
    recalls_.out_of_history({&record, 1});
  }

  ManualClock clock_;
  Rows rows_;
  Recalls recalls_{rows_, clock_, 4};
};

TEST_F(RecallsTest, HidesTheRecordAtItsPlaceAndNoOther) {
  ASSERT_TRUE(recalls_.add(place(7, 2, 30)).ok());
  EXPECT_EQ(shown({message(7, 2, 30)}), 0U);
  EXPECT_EQ(shown({message(7, 1, 29), message(7, 3, 31), message(8, 2, 32)}), 3U);
  EXPECT_EQ(shown({message(7, 2, 44)}), 1U) << "the same seq of another life of the log";
}

TEST_F(RecallsTest, NothingIsHiddenThatIsNotDurable) {
  rows_.fail = true;
  EXPECT_FALSE(recalls_.add(place(7, 2, 30)).ok());
  EXPECT_EQ(shown({message(7, 2, 30)}), 1U);
  rows_.fail = false;
  EXPECT_TRUE(recalls_.add(place(7, 2, 30)).ok());
  EXPECT_EQ(rows_.rows.size(), 1U);
}

TEST_F(RecallsTest, RefusesMoreThanItsBoundAndTakesOneAgainWhenOneIsDone) {
  for (std::uint64_t seq = 1; seq <= 4; ++seq) ASSERT_TRUE(recalls_.add(place(7, seq, seq)).ok());
  EXPECT_EQ(recalls_.add(place(7, 5, 5)).error().code(), ErrorCode::Overloaded);
  EXPECT_TRUE(recalls_.add(place(7, 3, 3)).ok()) << "one that waits already";
  finish(7, 2, 2);
  ASSERT_TRUE(recalls_.retire(LogPosition(9), LogPosition(0)).ok());
  EXPECT_TRUE(recalls_.add(place(7, 5, 5)).ok());
  EXPECT_EQ(rows_.rows.size(), 4U);
}

TEST_F(RecallsTest, RowsBehindTheEndOfTheLogAreRemovedDurably) {
  rows_.rows = {{7, MessageSeq(2), LogPosition(30), 0}, {7, MessageSeq(3), LogPosition(31), 0}};
  ASSERT_TRUE(recalls_.load(LogPosition(30)).ok());
  ASSERT_EQ(rows_.rows.size(), 1U);
  EXPECT_EQ(shown({message(7, 2, 30)}), 0U);
  EXPECT_EQ(shown({message(7, 3, 31)}), 1U);
}

TEST_F(RecallsTest, RetiresWhatIsOutOfLogHistoryAndWindowAlone) {
  ASSERT_TRUE(recalls_.add(place(7, 1, 10)).ok());
  const auto retired = [&](std::uint64_t window, std::uint64_t trimmed) {
    EXPECT_TRUE(recalls_.retire(LogPosition(window), LogPosition(trimmed)).ok());
    return recalls_.waiting() == 0;
  };
  EXPECT_FALSE(retired(99, 99)) << "the log has it";
  recalls_.begin_round();
  ASSERT_TRUE(recalls_.add(place(7, 2, 11)).ok());
  recalls_.end_round();
  EXPECT_TRUE(recalls_.any_in_log()) << "what came after the round had begun waits for the next";
  EXPECT_FALSE(retired(99, 0)) << "history has it";
  EXPECT_FALSE(retired(9, 10)) << "the window has it";
  EXPECT_FALSE(retired(10, 10));
  EXPECT_EQ(recalls_.waiting(), 1U) << "retention has taken the first out of history";
  finish(7, 2, 11);
  EXPECT_TRUE(retired(11, 0));
  EXPECT_TRUE(rows_.rows.empty());
}

TEST_F(RecallsTest, StaysUntilReadsThatMayHoldACopyHaveEnded) {
  ASSERT_TRUE(recalls_.add(place(7, 1, 10)).ok());
  std::optional<Recalls::Reading> before;
  before.emplace(recalls_);
  finish(7, 1, 10);
  ASSERT_TRUE(recalls_.retire(LogPosition(10), LogPosition(0)).ok());
  EXPECT_TRUE(rows_.rows.empty()) << "its row is gone";
  {
    const Recalls::Reading after(recalls_);
    ASSERT_TRUE(recalls_.retire(LogPosition(10), LogPosition(0)).ok());
    FeedPage page = page_of({message(7, 1, 10)});
    before->hide(page);
    EXPECT_TRUE(page.messages.empty());
    before.reset();
    ASSERT_TRUE(recalls_.retire(LogPosition(10), LogPosition(0)).ok());
    EXPECT_EQ(recalls_.waiting(), 0U) << "the later read has not held it up";
  }
}

TEST_F(RecallsTest, HistoryIsDueWhenTheOldestHasWaitedAlsoOverARestart) {
  clock_.advance(Milliseconds(1'000'000));
  ASSERT_TRUE(recalls_.add(place(7, 1, 10)).ok());
  clock_.advance(Milliseconds(50));
  ASSERT_TRUE(recalls_.add(place(7, 2, 11)).ok());
  ASSERT_TRUE(recalls_.add(place(7, 3, 40)).ok());
  EXPECT_TRUE(recalls_.due_in_history(LogPosition(30), Milliseconds(60)).empty());
  clock_.advance(Milliseconds(10));
  EXPECT_EQ(recalls_.due_in_history(LogPosition(30), Milliseconds(60)).size(), 2U) << "the young one with it, what history lacks not";
  Recalls next(rows_, clock_, 4);
  ASSERT_TRUE(next.load(LogPosition(40)).ok());
  EXPECT_EQ(next.due_in_history(LogPosition(30), Milliseconds(60)).size(), 2U);
  EXPECT_TRUE(next.due_in_history(LogPosition(30), Milliseconds(61)).empty());
}

TEST_F(RecallsTest, WhatDamageKeepsInHistoryStaysHiddenUntilRetentionTakesIt) {
  ASSERT_TRUE(recalls_.add(place(7, 1, 10)).ok());
  const RecalledRecord record{7, MessageSeq(1), LogPosition(10)};
  recalls_.stuck_in_history({&record, 1});
  finish(7, 1, 10);
  ASSERT_TRUE(recalls_.retire(LogPosition(10), LogPosition(9)).ok());
  EXPECT_EQ(shown({message(7, 1, 10)}), 0U);
  EXPECT_TRUE(recalls_.due_in_history(LogPosition(10), Milliseconds(0)).empty());
  ASSERT_TRUE(recalls_.retire(LogPosition(10), LogPosition(10)).ok());
  EXPECT_EQ(recalls_.waiting(), 0U);
}

// Readers copy a message out of a window, and hide later; meanwhile it leaves the window, and its recall is retired.
TEST_F(RecallsTest, NoReaderShowsWhatItCopiedBeforeTheRecallWasRetired) {
  constexpr std::uint64_t kRounds = 3000;
  Mutex mutex;
  MessagePtr window;                       // under the mutex
  std::atomic<std::uint64_t> recalled{0};  // of which it is told, ascending
  std::atomic<std::uint64_t> shown{0};
  std::atomic<bool> stop{false};
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&] {
      while (!stop) {
        const std::uint64_t told = recalled;
        const Recalls::Reading reading(recalls_);
        FeedPage page;
        {
          MutexLock lock(mutex);
          if (window) page.messages.push_back(window);
        }
        std::this_thread::yield();
        reading.hide(page);
        if (!page.messages.empty() && page.messages[0]->seq().value() <= told) ++shown;
      }
    });
  }
  // One that stays, so that there is always something to be asked for.
  EXPECT_TRUE(recalls_.add(place(8, 1, UINT64_MAX)).ok());
  for (std::uint64_t seq = 1; seq <= kRounds; ++seq) {
    {
      MutexLock lock(mutex);
      window = message(7, seq, seq);
    }
    EXPECT_TRUE(recalls_.add(place(7, seq, seq)).ok());
    recalled = seq;
    std::this_thread::yield();
    {
      MutexLock lock(mutex);
      window = {};
    }
    finish(7, seq, seq);
    while (recalls_.waiting() > 1) {
      EXPECT_TRUE(recalls_.retire(LogPosition(seq), LogPosition(0)).ok());
      std::this_thread::yield();
    }
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(shown, 0U);
}

}  // namespace
}  // namespace dunlin::embedded

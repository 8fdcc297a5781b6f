#include "storage/embedded/log/log_wipe.h"

#include <gtest/gtest.h>

#include "base/log.h"
#include "storage/embedded/log/testing/log_harness.h"

namespace dunlin::embedded {
namespace {

const std::string kSecretBody = R"({"text":"the-recalled-content"})";
constexpr std::string_view kNeedle = "the-recalled-content";

class LogWipeTest : public testing::Test {
 protected:
  LogWipeTest() { set_log_level(LogLevel::Off); }
  ~LogWipeTest() override { set_log_level(LogLevel::Info); }

  LogHarness::Options options() {
    LogHarness::Options out;
    out.segment_bytes = 16 << 10;
    out.recall_rows = &rows_;
    return out;
  }
  // The log's files that hold the text.
  std::vector<std::string> holding(std::string_view text = kNeedle) {
    std::vector<std::string> out;
    const auto names = files_.list("data/log");
    EXPECT_TRUE(names.ok());
    for (const auto& name : *names) {
      if (files_.content("data/log/" + name).find(text) != std::string::npos) out.push_back(name);
    }
    return out;
  }
  AppendOutcome send_secret(LogHarness& store, SessionKey session, Durability level = Durability::Fsync) {
    return store.send(session, "ann", "ben", "secret", kSecretBody, level);
  }
  static void recall(LogHarness& store, const AppendOutcome& sent) {
    ASSERT_TRUE(sent.message);
    ASSERT_TRUE(store.recalls.add(sent.message->place()).ok());
  }
  static void seal_and_index(LogHarness& store) {
    ASSERT_TRUE(store.writer->seal().ok());
    store.index();
  }
  static void work(LogHarness& store) {
    for (int i = 0; i < 12; ++i) {
      store.clock.advance(Milliseconds(5000));
      store.index();
    }
  }
  static bool hidden(LogHarness& store, MessageSeq seq) {
    const RangePage page = store.all_of(private_conversation("ann", "ben"));
    const bool there = std::ranges::any_of(page.messages, [&](const MessagePtr& m) { return m->seq() == seq; });
    const bool gap =
        std::ranges::any_of(page.gaps, [&](const SeqGap& g) { return g.reason == GapReason::NotVisible && g.from <= seq && seq <= g.to; });
    return gap && !there;
  }

  FaultyFileSystem files_{11};
  FakeHistory history_;
  LogHarness::RowsInMemory rows_;
};

TEST_F(LogWipeTest, LeavesTheSegmentThatIsBeingWritten) {
  LogHarness store(files_, history_, options());
  const SessionKey session = store.open_session();
  store.send(session, "ann", "ben", "before");
  const AppendOutcome sent = send_secret(store, session);
  store.send(session, "ann", "ben", "after");
  work(store);
  ASSERT_EQ(holding().size(), 1U) << "nothing happens before the recall";
  recall(store, sent);
  EXPECT_TRUE(hidden(store, sent.seq));
  work(store);
  EXPECT_TRUE(holding().empty());
  EXPECT_TRUE(hidden(store, sent.seq));
  EXPECT_EQ(store.recalls.waiting(), 0U);
  EXPECT_TRUE(rows_.rows.empty());
  EXPECT_EQ(store.all_of(private_conversation("ann", "ben")).messages.size(), 2U);
  EXPECT_EQ(store.send(session, "ann", "ben", "next").seq, MessageSeq(4));
}

TEST_F(LogWipeTest, ASegmentThatHistoryLacksIsLeftUntilItIsThere) {
  LogHarness store(files_, history_, options());
  const SessionKey session = store.open_session();
  const AppendOutcome sent = send_secret(store, session);
  history_.fail_ingest = true;
  seal_and_index(store);
  recall(store, sent);
  work(store);
  EXPECT_EQ(holding().size(), 1U) << "it is the only copy of its neighbours";
  EXPECT_TRUE(hidden(store, sent.seq));
  EXPECT_FALSE(rows_.rows.empty());
  history_.fail_ingest = false;
  work(store);
  EXPECT_TRUE(holding().empty());
  EXPECT_TRUE(hidden(store, sent.seq));
  EXPECT_TRUE(rows_.rows.empty());
}

TEST_F(LogWipeTest, LeavesASpareThatWasNotWrittenAnew) {
  LogHarness store(files_, history_, options());
  const SessionKey session = store.open_session();
  const AppendOutcome sent = send_secret(store, session);
  seal_and_index(store);
  ASSERT_EQ(holding().size(), 1U);
  recall(store, sent);
  work(store);
  EXPECT_TRUE(holding().empty());
  EXPECT_TRUE(hidden(store, sent.seq));
}

TEST_F(LogWipeTest, LeavesTheRestBehindAShorterLaterLifeOfTheFile) {
  LogHarness store(files_, history_, options());
  const SessionKey session = store.open_session();
  // Enough of them that whichever file is taken next had one.
  std::vector<AppendOutcome> sent;
  for (int segment = 0; segment < 4; ++segment) {
    const std::string tag = std::to_string(segment);
    for (int i = 0; i < 6; ++i) store.send(session, "ann", "ben", "first" + tag + std::to_string(i), std::string(1000, 'x'));
    sent.push_back(store.send(session, "ann", "ben", "secret" + tag, kSecretBody));
    seal_and_index(store);
  }
  store.send(session, "ann", "ben", "short");
  const auto in = holding();
  ASSERT_NE(std::ranges::find(in, store.writer->current_file()), in.end()) << "the file is written again, but not as far";
  for (const AppendOutcome& one : sent) recall(store, one);
  work(store);
  EXPECT_TRUE(holding().empty());
  for (const AppendOutcome& one : sent) EXPECT_TRUE(hidden(store, one.seq));
}

TEST_F(LogWipeTest, LeavesAKeptSegmentWhoseFeedGoesOn) {
  LogHarness store(files_, history_, options());
  const SessionKey session = store.open_session();
  ASSERT_TRUE(store.followers->add("slow", LogPosition(0)).ok());
  std::vector<AppendOutcome> sent;
  for (int i = 0; i < 40; ++i) {
    const std::string id = "m" + std::to_string(i);
    sent.push_back(i == 7 || i == 8 ? store.send(session, "ann", "ben", id, kSecretBody)
                                    : store.send(session, "ann", "ben", id, std::string(1000, 'x')));
  }
  seal_and_index(store);
  const std::uint64_t kept = store.kept.bytes();
  ASSERT_GE(kept, 3U * (16 << 10));
  ASSERT_EQ(holding().size(), 1U);
  ASSERT_TRUE(store.reader.feed(LogPosition(0), 3).ok()) << "and read into memory";
  recall(store, sent[7]);
  recall(store, sent[8]);
  work(store);
  EXPECT_TRUE(holding().empty());
  EXPECT_EQ(store.kept.bytes(), kept) << "nothing is taken from the follower";
  for (const bool retired : {false, true}) {
    if (retired) work(store);
    EXPECT_EQ(store.recalls.waiting(), 0U);
    history_.feeds = 0;
    LogPosition after;
    std::size_t got = 0;
    for (int guard = 0; guard < 100; ++guard) {
      const auto page = store.reader.feed(after, 3);
      ASSERT_TRUE(page.ok());
      if (page->next <= after) break;
      after = page->next;
      for (const MessagePtr& message : page->messages) EXPECT_EQ(message->body().find(kNeedle), std::string::npos);
      got += page->messages.size();
    }
    EXPECT_EQ(got, 38U);
    EXPECT_EQ(after, sent.back().message->place().position);
    EXPECT_EQ(history_.feeds, 0U) << "erased records need no history";
  }
  // What was treated once is not read again without need.
  const AppendOutcome later = store.send(session, "ann", "ben", "later", kSecretBody);
  recall(store, later);
  work(store);
  EXPECT_TRUE(holding().empty());
}

TEST_F(LogWipeTest, LeavesTheRestBehindAKeptSegment) {
  LogHarness store(files_, history_, options());
  const SessionKey session = store.open_session();
  std::vector<AppendOutcome> sent;
  for (int segment = 0; segment < 4; ++segment) {
    const std::string tag = std::to_string(segment);
    for (int i = 0; i < 6; ++i) store.send(session, "ann", "ben", "first" + tag + std::to_string(i), std::string(1000, 'x'));
    sent.push_back(store.send(session, "ann", "ben", "secret" + tag, kSecretBody));
    seal_and_index(store);
  }
  ASSERT_TRUE(store.followers->add("slow", sent.back().message->place().position).ok());
  const AppendOutcome last = store.send(session, "ann", "ben", "short");
  const std::string file = store.writer->current_file();
  seal_and_index(store);
  ASSERT_TRUE(store.kept.end_of(file));
  const auto in = holding();
  ASSERT_NE(std::ranges::find(in, file), in.end()) << "behind what is kept";
  for (const AppendOutcome& one : sent) recall(store, one);
  work(store);
  EXPECT_TRUE(holding().empty());
  const auto page = store.kept.read(last.message->place().position.prev(), 10);
  ASSERT_TRUE(page);
  EXPECT_EQ(page->messages.size(), 1U) << "which is as it was";
}

TEST_F(LogWipeTest, WhatWasReadOfAKeptSegmentBeforeIsNotGivenAfter) {
  LogHarness store(files_, history_, options());
  const SessionKey session = store.open_session();
  ASSERT_TRUE(store.followers->add("slow", LogPosition(0)).ok());
  const AppendOutcome sent = send_secret(store, session);
  const AppendOutcome next = store.send(session, "ann", "ben", "next");
  seal_and_index(store);
  const auto before = store.kept.read(LogPosition(0), 10);
  ASSERT_TRUE(before);
  ASSERT_EQ(before->messages.size(), 2U);
  recall(store, sent);
  // Without the indexer's own round, which forgets what nobody has asked for since the last.
  for (int i = 0; i < 10; ++i) {
    store.clock.advance(Milliseconds(5000));
    store.rounds->work(false, [] { return false; });
    ASSERT_TRUE(store.pool.maintain().ok());
  }
  ASSERT_TRUE(holding().empty());
  const auto after = store.kept.read(LogPosition(0), 10);
  ASSERT_TRUE(after);
  ASSERT_EQ(after->messages.size(), 1U);
  EXPECT_EQ(after->messages[0]->seq(), next.seq);
}

TEST_F(LogWipeTest, LeavesCopiesInFailedAndVoidParts) {
  LogHarness store(files_, history_, options());
  const SessionKey session = store.open_session();
  ASSERT_TRUE(store.followers->add("slow", LogPosition(0)).ok());
  store.send(session, "ann", "ben", "synced");
  const AppendOutcome sent = send_secret(store, session, Durability::Os);
  files_.fail(FaultyFileSystem::Call::Sync, 0, ErrorCode::Io, 2);
  ASSERT_FALSE(store.send(session, "ann", "ben", "moves").refused);
  files_.heal();
  ASSERT_GE(holding().size(), 2U) << "in the void end of one segment, and in the next; perhaps in a failed attempt";
  recall(store, sent);
  work(store);
  EXPECT_TRUE(holding().empty());
  EXPECT_TRUE(hidden(store, sent.seq));
  EXPECT_EQ(store.all_of(private_conversation("ann", "ben")).messages.size(), 2U);
}

TEST_F(LogWipeTest, WaitsForABackup) {
  LogHarness store(files_, history_, options());
  const SessionKey session = store.open_session();
  const AppendOutcome sent = send_secret(store, session);
  store.indexer->hold_files(true);
  recall(store, sent);
  work(store);
  EXPECT_EQ(holding().size(), 1U);
  store.indexer->hold_files(false);
  work(store);
  EXPECT_TRUE(holding().empty());
}

TEST_F(LogWipeTest, WhatFailsIsTriedAgain) {
  LogHarness store(files_, history_, options());
  const SessionKey session = store.open_session();
  ASSERT_TRUE(store.followers->add("slow", LogPosition(0)).ok());
  const AppendOutcome kept = send_secret(store, session);
  seal_and_index(store);
  const AppendOutcome active = store.send(session, "ann", "ben", "second", kSecretBody);
  recall(store, kept);
  recall(store, active);
  for (const auto call : {FaultyFileSystem::Call::Write, FaultyFileSystem::Call::Sync, FaultyFileSystem::Call::Open}) {
    files_.fail(call, 0, ErrorCode::Io, UINT64_MAX);
    work(store);
    EXPECT_FALSE(rows_.rows.empty()) << "a failed call may have done its work, but nobody knows";
    EXPECT_TRUE(hidden(store, kept.seq));
    files_.heal();
  }
  work(store);
  EXPECT_TRUE(holding().empty());
  EXPECT_TRUE(rows_.rows.empty());
  EXPECT_TRUE(hidden(store, kept.seq));
  EXPECT_TRUE(hidden(store, active.seq));
}

TEST_F(LogWipeTest, AKillBetweenRecallAndWipeLeavesItHiddenAndIsMadeUpFor) {
  MessageSeq seq;
  {
    LogHarness store(files_, history_, options());
    const SessionKey session = store.open_session();
    ASSERT_TRUE(store.followers->add("slow", LogPosition(0)).ok());
    store.send(session, "ann", "ben", "before");
    const AppendOutcome sent = send_secret(store, session);
    seq = sent.seq;
    recall(store, sent);
  }
  files_.kill();
  LogHarness store(files_, history_, options());
  ASSERT_TRUE(store.alive) << store.failure;
  EXPECT_TRUE(hidden(store, seq));
  ASSERT_FALSE(holding().empty());
  work(store);
  EXPECT_TRUE(hidden(store, seq));
  EXPECT_TRUE(holding().empty());
  EXPECT_EQ(store.all_of(private_conversation("ann", "ben")).messages.size(), 1U);
}

TEST_F(LogWipeTest, WithNothingRecalledNoFileIsWrittenAnew) {
  LogHarness store(files_, history_, options());
  const SessionKey session = store.open_session();
  for (int i = 0; i < 6; ++i) {
    store.send(session, "ann", "ben", "a" + std::to_string(i), std::string(1000, 'x'));
    seal_and_index(store);
  }
  const std::uint64_t before = files_.calls(FaultyFileSystem::Call::Write);
  work(store);
  EXPECT_EQ(files_.calls(FaultyFileSystem::Call::Write), before);
}

// Whenever the power goes: what was recalled stays hidden, nothing else does, and in the end the log is free of it.
TEST_F(LogWipeTest, PowerCutsOverManySeedsBringNothingBackAndLoseNothing) {
  std::uint64_t recalled_in_all = 0;
  std::uint64_t cuts = 0;
  for (std::uint64_t seed = 1; seed <= 120 && !HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    FaultyFileSystem files(seed);
    FakeHistory history;
    LogHarness::RowsInMemory rows;
    LogHarness::Options options;
    options.segment_bytes = 16 << 10;
    options.recall_rows = &rows;
    std::mt19937_64 random(seed);
    const ConversationId conversation = private_conversation("ann", "ben");
    std::map<MessageSeq, bool> acked;  // → recalled
    for (int life = 0; life < 5 && !HasFailure(); ++life) {
      const bool last_life = life == 4;
      if (!last_life) files.cut_power_after(20 + random() % 120);
      {
        LogHarness store(files, history, options);
        if (!store.alive) {
          ASSERT_TRUE(files.power_is_cut()) << store.failure;
          files.restart();
          continue;
        }
        if (life == 0 && seed % 2 == 0) ignore(store.followers->add("slow", LogPosition(0)));
        const SessionKey session = store.open_session();
        for (int i = 0; i < 25 && !files.power_is_cut(); ++i) {
          const std::string id = "l" + std::to_string(life) + "-" + std::to_string(i);
          const AppendOutcome sent = store.send(session, "ann", "ben", id, std::string(kNeedle) + std::string(random() % 2500, 'x'));
          if (!sent.refused) acked[sent.seq] = false;
          if (!acked.empty() && random() % 3 == 0) {
            auto chosen = acked.begin();
            std::advance(chosen, static_cast<std::ptrdiff_t>(random() % acked.size()));
            const auto place = store.reader.place_of(conversation, chosen->first);
            if (place.ok() && *place && store.recalls.add(**place).ok()) {
              chosen->second = true;
              ++recalled_in_all;
            }
          }
          store.clock.advance(Milliseconds(1500));
          if (random() % 3 == 0) store.index();
          const RangePage page = store.all_of(conversation);
          std::set<MessageSeq> shown;
          for (const MessagePtr& message : page.messages) shown.insert(message->seq());
          for (const auto& [seq, recalled] : acked) ASSERT_EQ(shown.contains(seq), !recalled) << seq.value() << " in life " << life;
        }
        if (last_life) {
          // Also what was stored and never acked.
          for (const MessagePtr& message : store.all_of(conversation).messages) ASSERT_TRUE(store.recalls.add(message->place()).ok());
          for (int i = 0; i < 12; ++i) {
            store.clock.advance(Milliseconds(5000));
            store.index();
          }
          const auto names = files.list("data/log");
          for (const auto& name : *names) {
            EXPECT_EQ(files.content("data/log/" + name).find(kNeedle), std::string::npos) << name;
          }
          EXPECT_TRUE(rows.rows.empty());
        }
      }
      if (files.power_is_cut()) ++cuts;
      if (!last_life) files.restart();
    }
  }
  EXPECT_GT(recalled_in_all, 1000U);
  EXPECT_GT(cuts, 100U);
}

}  // namespace
}  // namespace dunlin::embedded

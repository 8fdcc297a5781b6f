#include "storage/embedded/log/committer.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "storage/embedded/log/testing/log_harness.h"

namespace dunlin::embedded {
namespace {

using Call = FaultyFileSystem::Call;

class CommitterTest : public testing::Test {
 protected:
  std::string numbered(SessionKey session, std::uint64_t n) { return session.text() + "-" + std::to_string(n); }

  FaultyFileSystem files_{1};
  FakeHistory history_;
};

TEST_F(CommitterTest, OneBatchIsOneWriteAndOneSync) {
  LogHarness store(files_, history_);
  const SessionKey session = store.open_session();
  store.send(session, "ann", "ben", "first");
  const auto writes = files_.calls(Call::Write);
  const auto syncs = files_.calls(Call::Sync);
  std::vector<AppendRequest> requests;
  for (int i = 0; i < 50; ++i) requests.push_back(store.request(session, "ann", "ben", "m" + std::to_string(i), "{}"));
  store.commit(std::move(requests));
  EXPECT_EQ(files_.calls(Call::Write) - writes, 1U);
  EXPECT_EQ(files_.calls(Call::Sync) - syncs, 1U);
}

TEST_F(CommitterTest, LevelsBelowFsyncDoNotSyncAndADuplicateThatAsksForMoreDoes) {
  LogHarness store(files_, history_);
  const SessionKey session = store.open_session();
  store.send(session, "ann", "ben", "first");
  const auto syncs = files_.calls(Call::Sync);
  const auto weak = store.send(session, "ann", "ben", "m", "{}", Durability::Os);
  EXPECT_EQ(weak.durability, Durability::Os);
  EXPECT_EQ(files_.calls(Call::Sync), syncs);
  const auto repeat = store.send(session, "ann", "ben", "m", "{}", Durability::Fsync);
  EXPECT_TRUE(repeat.duplicate);
  EXPECT_EQ(repeat.seq, weak.seq);
  EXPECT_EQ(repeat.durability, Durability::Fsync);
  EXPECT_EQ(files_.calls(Call::Sync), syncs + 1);
}

TEST_F(CommitterTest, AMemoryAckDoesNotWaitForItsWrite) {
  LogHarness store(files_, history_);
  const SessionKey session = store.open_session();
  store.send(session, "ann", "ben", "first");
  const auto writes = files_.calls(Call::Write);
  std::uint64_t writes_at_ack = 0;
  bool read_at_ack = false;
  store.on_told = [&] {
    writes_at_ack = files_.calls(Call::Write);
    read_at_ack = store.all_of(private_conversation("ann", "ben")).messages.size() == 2;
  };
  EXPECT_EQ(store.send(session, "ann", "ben", "m", "{}", Durability::Memory).durability, Durability::Memory);
  EXPECT_EQ(writes_at_ack, writes);
  EXPECT_TRUE(read_at_ack);
  EXPECT_EQ(files_.calls(Call::Write), writes + 1) << "but it is written";
  store.on_told = nullptr;
  const auto repeat = store.send(session, "ann", "ben", "m", "{}", Durability::Fsync);
  EXPECT_TRUE(repeat.duplicate);
  EXPECT_EQ(repeat.durability, Durability::Fsync);
}

TEST_F(CommitterTest, ABatchOfWhichOneAsksForMoreIsWrittenFirst) {
  LogHarness store(files_, history_);
  const SessionKey session = store.open_session();
  std::vector<AppendRequest> requests;
  requests.push_back(store.request(session, "ann", "ben", "m1", "{}", Durability::Memory));
  requests.push_back(store.request(session, "ann", "ben", "m2", "{}", Durability::Os));
  for (const auto& outcome : store.commit(std::move(requests))) EXPECT_EQ(outcome.durability, Durability::Os);
}

TEST_F(CommitterTest, WhatWasAckedFromMemoryKeepsItsSeqThroughAFailedWrite) {
  {
    LogHarness store(files_, history_);
    const SessionKey session = store.open_session();
    store.send(session, "ann", "ben", "m1");
    files_.fail(Call::Write, 0, ErrorCode::NoSpace, 1000);
    const auto owed = store.send(session, "ann", "ben", "m2", "{}", Durability::Memory);
    EXPECT_FALSE(owed.refused);
    EXPECT_EQ(owed.seq, MessageSeq(2));
    EXPECT_TRUE(store.committer->failing());
    EXPECT_EQ(store.send(session, "ann", "ben", "m3", "{}", Durability::Memory).refused, ErrorCode::StoreUnavailable)
        << "one batch is owed, no more";
    const SessionKey other = store.open_session();
    EXPECT_EQ(store.send(other, "ann", "ben", "m2", "{}", Durability::Os).refused, ErrorCode::StoreUnavailable)
        << "a duplicate of what is owed is not written either";
    EXPECT_EQ(store.all_of(private_conversation("ann", "ben")).messages.size(), 2U);
    files_.heal();
    const auto next = store.send(session, "ann", "ben", "m3");
    EXPECT_EQ(next.seq, MessageSeq(3));
    EXPECT_EQ(next.durability, Durability::Fsync);
    EXPECT_FALSE(store.committer->failing());
  }
  files_.restart();
  LogHarness store(files_, history_);
  const RangePage page = store.all_of(private_conversation("ann", "ben"));
  ASSERT_EQ(page.messages.size(), 3U);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(page.messages[static_cast<std::size_t>(i)]->client_msg_id(), "m" + std::to_string(i + 1));
}

TEST_F(CommitterTest, WhatIsOwedIsWrittenAlsoWithoutASend) {
  {
    LogHarness store(files_, history_);
    const SessionKey session = store.open_session();
    files_.fail(Call::Write, 0, ErrorCode::NoSpace, 1000);
    EXPECT_FALSE(store.send(session, "ann", "ben", "m1", "{}", Durability::Memory).refused);
    files_.heal();
    store.committer->run_once(std::chrono::milliseconds(0));
    EXPECT_FALSE(store.committer->failing());
  }
  files_.restart();
  LogHarness store(files_, history_);
  EXPECT_EQ(store.all_of(private_conversation("ann", "ben")).messages.size(), 1U);
}

TEST_F(CommitterTest, ARefusedBatchGivesItsSeqsBack) {
  LogHarness store(files_, history_);
  const SessionKey session = store.open_session();
  store.send(session, "ann", "ben", "m1");
  files_.fail(Call::Write, 0, ErrorCode::NoSpace, 1000);
  std::vector<AppendRequest> requests;
  requests.push_back(store.request(session, "ann", "ben", "m2", "{}"));
  requests.push_back(store.request(session, "ann", "cid", "m3", "{}"));
  requests.push_back(store.request(session, "ann", "ben", "m4", "{}"));
  const auto refused = store.commit(std::move(requests));
  EXPECT_EQ(refused[0].refused, ErrorCode::StoreUnavailable);
  EXPECT_EQ(refused[1].refused, ErrorCode::StoreUnavailable);
  EXPECT_EQ(refused[2].refused, ErrorCode::RetryInOrder) << "behind a refused one of its session";
  EXPECT_EQ(store.all_of(private_conversation("ann", "ben")).messages.size(), 1U);
  EXPECT_TRUE(store.committer->failing());
  files_.heal();
  EXPECT_EQ(store.send(session, "ann", "ben", "m4").refused, ErrorCode::RetryInOrder);
  EXPECT_EQ(store.send(session, "ann", "ben", "m2").seq, MessageSeq(2));
  EXPECT_EQ(store.send(session, "ann", "ben", "m4").seq, MessageSeq(3));
  EXPECT_EQ(store.send(session, "ann", "cid", "m3").seq, MessageSeq(1));
  EXPECT_FALSE(store.committer->failing());
}

TEST_F(CommitterTest, AFailedSegmentIsCutAndItsUnsyncedRecordsMoveOn) {
  std::vector<AppendOutcome> told;
  {
    LogHarness store(files_, history_);
    const SessionKey session = store.open_session();
    told.push_back(store.send(session, "ann", "ben", "m1"));
    told.push_back(store.send(session, "ann", "ben", "m2", "{}", Durability::Os));
    files_.fail(Call::Sync, 0, ErrorCode::Io, 1);
    told.push_back(store.send(session, "ann", "ben", "m3"));
    EXPECT_EQ(store.writer->failovers(), 1U);
    for (std::uint64_t i = 0; i < 3; ++i) EXPECT_EQ(told[i].seq, MessageSeq(i + 1));
  }
  files_.restart();
  LogHarness after(files_, history_);
  const RangePage page = after.all_of(private_conversation("ann", "ben"));
  EXPECT_EQ(page.messages.size(), 3U);
  EXPECT_TRUE(page.gaps.empty());
}

TEST_F(CommitterTest, HealsWithoutASend) {
  LogHarness store(files_, history_);
  const SessionKey session = store.open_session();
  store.send(session, "ann", "ben", "m1");
  files_.fail(Call::Sync, 0, ErrorCode::Io, 1000);
  EXPECT_TRUE(store.send(session, "ann", "ben", "m2").refused);
  EXPECT_TRUE(store.committer->failing());
  files_.heal();
  store.committer->run_once(std::chrono::milliseconds(0));
  EXPECT_FALSE(store.committer->failing());
}

TEST_F(CommitterTest, NumberedIdsOfTheirOwnSessionAreNotLookedUp) {
  LogHarness store(files_, history_);
  const SessionKey session = store.open_session();
  store.send(session, "ann", "ben", "warm");
  ASSERT_TRUE(store.writer->seal().ok());
  store.index();
  ASSERT_NE(history_.position(), LogPosition());
  const auto before = history_.dedup_lookups;
  for (std::uint64_t n = 1; n <= 20; ++n) EXPECT_FALSE(store.send(session, "ann", "ben", numbered(session, n)).duplicate);
  EXPECT_EQ(history_.dedup_lookups, before);
  EXPECT_FALSE(store.send(session, "ann", "ben", "free").duplicate);
  EXPECT_EQ(history_.dedup_lookups, before + 1);
}

TEST_F(CommitterTest, ARepeatIsFoundWhereverTheOriginalIs) {
  LogHarness store(files_, history_);
  const SessionKey session = store.open_session();
  const auto first = store.send(session, "ann", "ben", numbered(session, 1), "{\"n\":1}");
  EXPECT_TRUE(store.send(session, "ann", "ben", numbered(session, 1), "{\"n\":1}").duplicate) << "in the window";
  ASSERT_TRUE(store.writer->seal().ok());
  store.index();
  ASSERT_EQ(store.window.dedup().size(), 0U);
  const auto repeat = store.send(session, "ann", "ben", numbered(session, 1), "{\"n\":1}");
  EXPECT_TRUE(repeat.duplicate) << "in history";
  EXPECT_EQ(repeat.seq, first.seq);
  EXPECT_EQ(repeat.time_ms, first.time_ms);
  EXPECT_EQ(store.send(session, "ann", "ben", numbered(session, 1), "{\"n\":2}").refused, ErrorCode::ClientMsgIdConflict);
  std::vector<AppendRequest> same_batch;
  for (int i = 0; i < 3; ++i) same_batch.push_back(store.request(session, "ann", "ben", "twin", "{}"));
  const auto outcomes = store.commit(std::move(same_batch));
  EXPECT_FALSE(outcomes[0].duplicate);
  EXPECT_TRUE(outcomes[1].duplicate && outcomes[2].duplicate);
  EXPECT_EQ(outcomes[2].seq, outcomes[0].seq);
}

TEST_F(CommitterTest, AnotherSessionsUseOfANumberedIdIsSeen) {
  LogHarness store(files_, history_);
  const SessionKey old_one = store.open_session();
  store.send(old_one, "ann", "ben", numbered(old_one, 1));
  // The same user resends on a new connection what the old one may yet send itself.
  const SessionKey new_one = store.open_session();
  const auto stored = store.send(new_one, "ann", "ben", numbered(old_one, 2));
  EXPECT_FALSE(stored.duplicate);
  const auto late = store.send(old_one, "ann", "ben", numbered(old_one, 2));
  EXPECT_TRUE(late.duplicate);
  EXPECT_EQ(late.seq, stored.seq);
}

// The store knows a session from its first send on: until then nobody can find it to note the use.
TEST_F(CommitterTest, AnotherSessionsUseBeforeTheFirstSendIsSeen) {
  LogHarness store(files_, history_);
  const SessionKey silent = SessionKey::random();
  const SessionKey other = store.open_session();
  const auto stored = store.send(other, "ann", "ben", numbered(silent, 1));
  ASSERT_TRUE(store.writer->seal().ok());
  store.index();
  store.intake.begin_session(silent);
  const auto late = store.send(silent, "ann", "ben", numbered(silent, 1));
  EXPECT_TRUE(late.duplicate);
  EXPECT_EQ(late.seq, stored.seq);
}

TEST_F(CommitterTest, AnotherSessionsUseIsRememberedAsLongAsIdsAre) {
  LogHarness store(files_, history_);
  const SessionKey other = store.open_session();
  const SessionKey silent = SessionKey::random();
  store.send(other, "ann", "ben", numbered(silent, 1));
  store.clock.advance(std::chrono::hours(23));
  store.send(other, "ann", "ben", "any");
  store.intake.begin_session(silent);
  EXPECT_TRUE(store.send(silent, "ann", "ben", numbered(silent, 1)).duplicate);
}

TEST_F(CommitterTest, ARefusedSendOfASessionIsRepeatedBeforeWhatFollowsIt) {
  LogHarness store(files_, history_);
  const SessionKey session = store.open_session();
  files_.fail(Call::Write, 0, ErrorCode::Io, UINT64_MAX);
  EXPECT_EQ(store.send(session, "ann", "ben", "m1").refused, ErrorCode::StoreUnavailable);
  files_.heal();
  store.committer->run_once(std::chrono::milliseconds(0));
  EXPECT_EQ(store.send(session, "ann", "ben", "m2").refused, ErrorCode::RetryInOrder);
  EXPECT_FALSE(store.send(session, "ann", "ben", "m1").refused);
  EXPECT_FALSE(store.send(session, "ann", "ben", "m2").refused);
}

TEST_F(CommitterTest, APeerCannotSlowASessionDownByUsingItsIds) {
  LogHarness store(files_, history_);
  const SessionKey ann = store.open_session();
  const SessionKey ben = store.open_session();
  store.send(ann, "ann", "ben", numbered(ann, 1));
  ASSERT_TRUE(store.writer->seal().ok());
  store.index();
  EXPECT_FALSE(store.send(ben, "ben", "ann", numbered(ann, 999999)).refused);
  const auto before = history_.dedup_lookups;
  EXPECT_FALSE(store.send(ann, "ann", "ben", numbered(ann, 2)).refused);
  EXPECT_EQ(history_.dedup_lookups, before) << "still provably new";
}

SipHash128 colliding(const SipKey&, std::string_view bytes) {
  // All keys share the half by which the window's index finds them.
  return {42, std::hash<std::string_view>{}(bytes)};
}

TEST_F(CommitterTest, KeysThatCollideInTheIndexAreToldApart) {
  LogHarness::Options options;
  options.hash = &colliding;
  LogHarness store(files_, history_, options);
  const SessionKey session = store.open_session();
  for (int i = 0; i < 50; ++i) EXPECT_FALSE(store.send(session, "ann", "ben", "m" + std::to_string(i)).duplicate);
  for (int i = 0; i < 50; ++i) {
    const auto repeat = store.send(session, "ann", "ben", "m" + std::to_string(i));
    EXPECT_TRUE(repeat.duplicate);
    EXPECT_EQ(repeat.seq, MessageSeq(static_cast<std::uint64_t>(i + 1)));
  }
  ASSERT_TRUE(store.writer->seal().ok());
  store.index();
  EXPECT_EQ(store.window.dedup().size(), 0U);
}

TEST_F(CommitterTest, AFullWindowRefusesUntilHistoryCatchesUp) {
  LogHarness::Options options;
  options.window_bytes = 200 << 10;
  LogHarness store(files_, history_, options);
  const SessionKey session = store.open_session();
  history_.fail_ingest = true;
  int stored = 0;
  AppendOutcome last;
  for (; stored < 1000; ++stored) {
    last = store.send(session, "ann", "ben", "m" + std::to_string(stored), "\"" + std::string(2000, 'x') + "\"");
    if (last.refused) break;
    if (stored % 10 == 0) store.index();
  }
  EXPECT_EQ(last.refused, ErrorCode::Overloaded);
  EXPECT_LT(stored, 200);
  EXPECT_EQ(store.all_of(private_conversation("ann", "ben")).messages.size(), static_cast<std::size_t>(stored)) << "reads go on";
  history_.fail_ingest = false;
  ASSERT_TRUE(store.writer->seal().ok());
  store.index();
  const auto after = store.send(session, "ann", "ben", "m" + std::to_string(stored));
  EXPECT_FALSE(after.refused);
  EXPECT_EQ(after.seq.value(), static_cast<std::uint64_t>(stored + 1));
}

TEST_F(CommitterTest, AFullDiskRefusesBeforeTheReserveAndHeals) {
  LogHarness store(files_, history_);
  const SessionKey session = store.open_session();
  store.send(session, "ann", "ben", "m1");
  files_.set_space({4 << 20, 100 << 20});
  store.indexer->check_space();
  EXPECT_EQ(store.send(session, "ann", "ben", "m2").refused, ErrorCode::StoreUnavailable);
  EXPECT_TRUE(store.send(store.open_session(), "ann", "ben", "m1").duplicate) << "duplicates are still answered";
  files_.set_space({50 << 20, 100 << 20});
  store.indexer->check_space();
  EXPECT_EQ(store.send(session, "ann", "ben", "m2").seq, MessageSeq(2));
}

TEST_F(CommitterTest, EvictionWaitsForPins) {
  LogHarness store(files_, history_);
  const SessionKey session = store.open_session();
  store.send(session, "ann", "ben", "m1");
  {
    const Window::Pin pin = store.window.pin();
    ASSERT_TRUE(store.writer->seal().ok());
    store.index();
    EXPECT_EQ(history_.position(), LogPosition(1)) << "a pin does not hold ingestion back";
    EXPECT_EQ(store.window.dedup().size(), 1U);
  }
  store.index();
  EXPECT_EQ(store.window.dedup().size(), 0U);
  EXPECT_EQ(store.window.floor(), LogPosition(1));
}

TEST_F(CommitterTest, AFailedStateSyncIsRepeatedThoughHistoryRefusesTheSegment) {
  int failures = 1;
  LogHarness::Options options;
  options.sync_state = [&]() -> Status { return failures-- > 0 ? Status(Error(ErrorCode::Io, "injected")) : Status(); };
  LogHarness store(files_, history_, options);
  store.send(store.open_session(), "ann", "ben", "m1");
  ASSERT_TRUE(store.writer->seal().ok());
  store.indexer->work();
  EXPECT_NE(store.window.oldest_sealed(), nullptr);
  EXPECT_EQ(history_.position(), LogPosition(1));
  store.indexer->work();
  EXPECT_EQ(store.window.oldest_sealed(), nullptr);
}

TEST_F(CommitterTest, AWindowSmallerThanASegmentIsSealedEarly) {
  LogHarness::Options options;
  options.segment_bytes = 4 << 20;
  options.window_bytes = 200 << 10;
  LogHarness store(files_, history_, options);
  const SessionKey session = store.open_session();
  int refused = 0;
  for (int i = 0; i < 300; ++i) {
    const auto outcome = store.send(session, "ann", "ben", "m" + std::to_string(i), "\"" + std::string(2000, 'x') + "\"");
    if (!outcome.refused) continue;
    ASSERT_EQ(outcome.refused, ErrorCode::Overloaded);
    ASSERT_LT(++refused, 30) << "each time there is room again";
    store.index();
    --i;  // the same again, as the order asks
  }
  EXPECT_GT(refused, 0);
}

TEST_F(CommitterTest, ASegmentWithoutRecordsStaysWhileOlderOnesAreFoundThroughIt) {
  {
    LogHarness store(files_, history_);
    const SessionKey session = store.open_session();
    history_.fail_ingest = true;
    ASSERT_FALSE(store.send(session, "ann", "ben", "m1").refused);
    files_.fail(Call::Sync, 0, ErrorCode::Io, 3);
    ASSERT_TRUE(store.send(session, "ann", "ben", "m2").refused);
    store.committer->run_once(std::chrono::milliseconds(0));
    ASSERT_FALSE(store.writer->broken()) << "healed by an empty batch";
    files_.fail(Call::Sync, 0, ErrorCode::Io, 1);
    ASSERT_FALSE(store.send(session, "ann", "cid", "m3").refused);
    store.indexer->work();
  }
  files_.kill();
  for (int life = 0; life < 2; ++life) {
    LogHarness store(files_, history_);
    EXPECT_EQ(store.recovered.scan.unknown, 0U);
    EXPECT_EQ(store.all_of(private_conversation("ann", "ben")).messages.size(), 1U);
    EXPECT_EQ(store.all_of(private_conversation("ann", "cid")).messages.size(), 1U);
    store.indexer->work();
    ASSERT_TRUE(store.send(store.open_session(), "ann", "dan", "d" + std::to_string(life)).seq == MessageSeq(life + 1U));
    files_.kill();
  }
}

TEST_F(CommitterTest, AStopWhileBrokenMakesTheRefusedBatchVoid) {
  {
    LogHarness store(files_, history_);
    const SessionKey session = store.open_session();
    ASSERT_FALSE(store.send(session, "ann", "ben", "m1").refused);
    files_.fail(Call::Sync, 0, ErrorCode::Io, 3);
    ASSERT_TRUE(store.send(session, "ann", "ben", "refused").refused);
    ASSERT_TRUE(store.writer->broken());
    ASSERT_TRUE(store.writer->end(store.committer->settled().next()).ok());
  }
  LogHarness store(files_, history_);
  EXPECT_TRUE(store.recovered.scan.clean_end);
  EXPECT_EQ(store.all_of(private_conversation("ann", "ben")).messages.size(), 1U);
}

TEST_F(CommitterTest, ADirtyFileThatCannotBeWrittenIsRemoved) {
  LogHarness store(files_, history_);
  store.send(store.open_session(), "ann", "ben", "m1");
  const auto slot = store.pool.take();
  ASSERT_TRUE(slot.ok());
  store.pool.give_dirty(slot->name);
  files_.fail(Call::Write, 0, ErrorCode::Io);
  EXPECT_TRUE(store.pool.maintain().ok());
  EXPECT_FALSE(store.pool.has_dirty());
  EXPECT_TRUE(files_.content("data/log/" + slot->name).empty());
}

TEST_F(CommitterTest, AConflictWithARecordOfAFailedBatchIsTemporaryToo) {
  LogHarness store(files_, history_);
  const SessionKey session = store.open_session();
  const auto two = [&] {
    std::vector<AppendRequest> requests;
    requests.push_back(store.request(session, "ann", "ben", "m", "\"one\""));
    requests.push_back(store.request(session, "ann", "ben", "m", "\"other\""));
    return store.commit(std::move(requests));
  };
  files_.fail(Call::Sync, 0, ErrorCode::Io, 3);
  const auto failed = two();
  EXPECT_EQ(failed[0].refused, ErrorCode::StoreUnavailable);
  ASSERT_TRUE(failed[1].refused);
  EXPECT_NE(failed[1].refused, ErrorCode::ClientMsgIdConflict);
  const auto good = two();
  EXPECT_FALSE(good[0].refused);
  EXPECT_EQ(good[1].refused, ErrorCode::ClientMsgIdConflict);
}

TEST_F(CommitterTest, AJobAfterTheLastRoundIsRefusedAndNotRun) {
  LogHarness store(files_, history_);
  store.committer->start();
  bool ran = false;
  EXPECT_TRUE(store.committer->run_between_batches([&] { ran = true; }).ok());
  EXPECT_TRUE(ran);
  store.committer->stop();
  ran = false;
  const Status refused = store.committer->run_between_batches([&] { ran = true; });
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code(), ErrorCode::StoreUnavailable);
  EXPECT_FALSE(ran);
}

TEST_F(CommitterTest, AJobThatRacesWithTheStopIsRunOrRefusedButNeverWaitsForEver) {
  for (int i = 0; i < 100; ++i) {
    LogHarness store(files_, history_);
    store.committer->start();
    std::atomic<int> jobs{0};
    std::atomic<int> answered{0};
    std::vector<std::thread> callers;
    callers.reserve(2);
    for (int t = 0; t < 2; ++t) {
      callers.emplace_back([&] {
        while (store.committer->run_between_batches([&] { ++jobs; }).ok()) ++answered;
      });
    }
    while (jobs < 1 + i % 3) std::this_thread::yield();
    store.committer->stop();
    for (auto& caller : callers) caller.join();
    EXPECT_EQ(jobs, answered) << "run exactly when the caller was told so";
  }
}

TEST_F(CommitterTest, AJobIsGivenUpWhenTheCommitterDoesNotComeRound) {
  LogHarness store(files_, history_);
  store.committer->start();
  std::atomic<bool> go_on{false};
  std::thread first([&] {
    EXPECT_TRUE(store.committer
                    ->run_between_batches([&] {
                      while (!go_on) std::this_thread::yield();
                    })
                    .ok());
  });
  Status second;
  do {
    second = store.committer->run_between_batches([] {}, std::chrono::milliseconds(1));
  } while (second.ok());  // until the first one has begun
  EXPECT_EQ(second.error().code(), ErrorCode::Timeout);
  go_on = true;
  first.join();
  EXPECT_TRUE(store.committer->run_between_batches([] {}).ok());
}

TEST_F(CommitterTest, AMessageOfNearlyAQuarterOfASegmentIsStoredAlsoThroughAFailure) {
  LogHarness::Options options;
  options.segment_bytes = 32ULL << 20;  // so that the message is larger than a good batch
  const std::string large = "\"" + std::string((8U << 20) - 1024, 'x') + "\"";
  {
    LogHarness store(files_, history_, options);
    const SessionKey session = store.open_session();
    ASSERT_FALSE(store.send(session, "ann", "ben", "small", "{}", Durability::Os).refused);
    ASSERT_FALSE(store.send(session, "ann", "ben", "large", large, Durability::Os).refused);
    files_.fail(Call::Sync, 0, ErrorCode::Io);
    ASSERT_FALSE(store.send(session, "ann", "ben", "another", large).refused);
    EXPECT_EQ(store.send(session, "ann", "ben", "too large", "\"" + std::string(8U << 20, 'x') + "\"").refused, ErrorCode::TooLarge);
  }
  files_.kill();
  LogHarness store(files_, history_, options);
  ASSERT_TRUE(store.alive) << store.failure;
  const RangePage page = store.all_of(private_conversation("ann", "ben"));
  ASSERT_EQ(page.messages.size(), 3U);
  EXPECT_EQ(page.messages[1]->body(), large);
  EXPECT_EQ(page.messages[2]->body(), large);
}

}  // namespace
}  // namespace dunlin::embedded

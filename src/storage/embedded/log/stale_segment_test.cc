#include <gtest/gtest.h>

#include <map>

#include "base/log.h"
#include "storage/embedded/log/testing/log_harness.h"

namespace dunlin::embedded {
namespace {

using Call = FaultyFileSystem::Call;

// What a segment file holds may be of a past that was taken back, or that history has long had. It must not come back as news, whatever
// became of the files that would have told so.
class StaleSegmentTest : public testing::Test {
 protected:
  void SetUp() override { set_log_level(LogLevel::Off); }
  void TearDown() override { set_log_level(LogLevel::Info); }

  // A segment of one acked message, then a batch of five that is written but never synced, and refused.
  static void write_and_fail(LogHarness& store, FaultyFileSystem& files, SessionKey session) {
    store.indexer->work();  // two spares
    ASSERT_FALSE(store.send(session, "ann", "ben", "kept").refused);
    std::vector<AppendRequest> five;
    for (int i = 0; i < 5; ++i) {
      five.push_back(store.request(session, "ann", "ben", "refused" + std::to_string(i), "{}"));
      five.back().abandon = true;
    }
    files.fail(Call::Sync, 0, ErrorCode::Io, 3);
    for (const auto& outcome : store.commit(std::move(five))) ASSERT_TRUE(outcome.refused);
    files.heal();
  }
  std::string with_generation(std::uint64_t generation) {
    const auto names = files_.list("data/log");
    for (const auto& name : *names) {
      if (index_segment(files_.content("data/log/" + name), LogHarness::kSecret).generation == generation) return "data/log/" + name;
    }
    return {};
  }
  std::vector<std::string> ids(LogHarness& store, const char* peer) {
    std::vector<std::string> out;
    for (const auto& m : store.all_of(private_conversation("ann", peer)).messages) out.emplace_back(m->client_msg_id());
    return out;
  }

  FaultyFileSystem files_{3};
  FakeHistory history_;
};

TEST_F(StaleSegmentTest, ARefusedBatchDoesNotComeBackWhenAllNewerFilesAreGone) {
  {
    LogHarness store(files_, history_);
    const SessionKey session = store.open_session();
    ASSERT_NO_FATAL_FAILURE(write_and_fail(store, files_, session));
    ASSERT_EQ(store.send(session, "ann", "cid", "other").message->place().position, LogPosition(2));
    ASSERT_TRUE(store.writer->seal().ok());
    std::string failed = files_.content("data/log/p0-00000001.seg");
    store.index();
    ASSERT_EQ(history_.position(), LogPosition(2));
    const auto names = files_.list("data/log");
    ASSERT_TRUE(names.ok());
    for (const auto& name : *names) ASSERT_TRUE(files_.remove("data/log/" + name).ok());
    files_.set_content("data/log/p0-00000001.seg", failed);
  }
  LogHarness store(files_, history_);
  ASSERT_TRUE(store.alive) << store.failure;
  EXPECT_EQ(store.recovered.scan.stale, 1U);
  EXPECT_EQ(ids(store, "ben"), std::vector<std::string>{"kept"});
  EXPECT_EQ(ids(store, "cid"), std::vector<std::string>{"other"});
  const auto next = store.send(store.open_session(), "ann", "ben", "next");
  EXPECT_EQ(next.seq, MessageSeq(2));
  EXPECT_EQ(next.message->place().position, LogPosition(3));
}

TEST_F(StaleSegmentTest, AVoidSegmentIsWrittenAnewAfterARestartBeforeAnythingIsRecycled) {
  {
    LogHarness store(files_, history_);
    const SessionKey session = store.open_session();
    ASSERT_NO_FATAL_FAILURE(write_and_fail(store, files_, session));
    ASSERT_FALSE(store.send(session, "ann", "cid", "other").refused);
  }
  ASSERT_NE(with_generation(2), "") << "an attempt that failed, five records long";
  files_.kill();
  LogHarness store(files_, history_);
  ASSERT_TRUE(store.alive) << store.failure;
  EXPECT_EQ(store.recovered.scan.stale + store.recovered.scan.lost + store.recovered.scan.unknown, 0U);
  EXPECT_TRUE(store.pool.has_dirty());
  EXPECT_EQ(ids(store, "ben"), std::vector<std::string>{"kept"});
  store.index();
  EXPECT_FALSE(store.pool.has_dirty());
  EXPECT_EQ(with_generation(2), "");
  EXPECT_EQ(ids(store, "cid"), std::vector<std::string>{"other"});
}

TEST_F(StaleSegmentTest, ACopyOfAnEarlierSegmentIsNoNews) {
  std::uint64_t sent = 0;
  const auto send = [&sent](LogHarness& store, SessionKey session) {
    const auto outcome = store.send(session, "ann", "ben", "m" + std::to_string(sent));
    ++sent;
    EXPECT_EQ(outcome.seq.value(), sent);
  };
  for (int life = 0; life < 6; ++life) {
    SCOPED_TRACE(life);
    std::map<std::string, std::string> copies;
    {
      LogHarness store(files_, history_);
      ASSERT_TRUE(store.alive) << store.failure;
      EXPECT_EQ(store.recovered.scan.lost + store.recovered.scan.unknown, 0U);
      EXPECT_EQ(store.all_of(private_conversation("ann", "ben")).messages.size(), sent);
      const SessionKey session = store.open_session();
      for (int i = 0; i < 3; ++i) send(store, session);
      const auto names = files_.list("data/log");
      ASSERT_TRUE(names.ok());
      for (const auto& name : *names) copies["data/log/p0-f" + std::to_string(life) + name.substr(5)] = files_.content("data/log/" + name);
      send(store, session);
      ASSERT_TRUE(store.writer->seal().ok());
      send(store, session);
      if (life % 2 == 1) store.index();
    }
    files_.kill();
    for (const auto& [path, bytes] : copies) files_.set_content(path, bytes);
  }
  LogHarness store(files_, history_);
  ASSERT_TRUE(store.alive) << store.failure;
  const RangePage page = store.all_of(private_conversation("ann", "ben"));
  EXPECT_EQ(page.messages.size(), sent);
  EXPECT_TRUE(page.gaps.empty());
}

TEST_F(StaleSegmentTest, WhenTheWayBackIsLostARefusedBatchDoesNotStandInForWhatIsMissing) {
  {
    LogHarness store(files_, history_);
    const SessionKey session = store.open_session();
    ASSERT_NO_FATAL_FAILURE(write_and_fail(store, files_, session));
    ASSERT_FALSE(store.send(session, "ann", "cid", "other", "\"the right one\"").refused);
  }
  // The segment after the failure has only this batch; without its head nothing says where the failed one ends.
  const std::string path = with_generation(3);
  ASSERT_NE(path, "");
  std::string bytes = files_.content(path);
  bytes[12] = 1;
  files_.set_content(path, bytes);
  LogHarness store(files_, history_);
  ASSERT_TRUE(store.alive) << store.failure;
  EXPECT_EQ(ids(store, "ben"), std::vector<std::string>{"kept"});
  EXPECT_EQ(ids(store, "cid"), std::vector<std::string>{"other"});
}

}  // namespace
}  // namespace dunlin::embedded

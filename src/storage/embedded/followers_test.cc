#include "storage/embedded/followers.h"

#include <gtest/gtest.h>

#include "base/log.h"
#include "storage/embedded/log/testing/log_harness.h"

namespace dunlin::embedded {
namespace {

LogHarness::Options small_segments() {
  LogHarness::Options options;
  options.segment_bytes = 16 << 10;
  return options;
}

// Records with bodies that fill a segment in a dozen, all brought into history.
LogPosition write_some(LogHarness& store, SessionKey session, int count, const std::string& tag) {
  LogPosition last;
  for (int i = 0; i < count; ++i) {
    const auto outcome = store.send(session, "ann", "ben", tag + std::to_string(i), std::string(1000, 'x'));
    EXPECT_FALSE(outcome.refused);
    if (outcome.message) last = outcome.message->place().position;
  }
  EXPECT_TRUE(store.writer->seal().ok());
  store.index();
  return last;
}

// All that the feed gives from `after`, which must come without a hole.
LogPosition follow(LogHarness& store, LogPosition after) {
  for (int guard = 0; guard < 1000; ++guard) {
    const auto page = store.reader.feed(after, 7);
    EXPECT_TRUE(page.ok());
    if (!page.ok() || page->messages.empty()) break;
    for (const MessagePtr& message : page->messages) {
      EXPECT_EQ(message->place().position, after.next());
      after = message->place().position;
    }
  }
  return after;
}

class FollowersTest : public testing::Test {
 protected:
  FollowersTest() { set_log_level(LogLevel::Off); }
  ~FollowersTest() override { set_log_level(LogLevel::Info); }
  FaultyFileSystem files_{7};
  FakeHistory history_;
};

TEST_F(FollowersTest, SegmentsStayUntilTheSlowestHasPassedThem) {
  LogHarness store(files_, history_, small_segments());
  const SessionKey session = store.open_session();
  ASSERT_TRUE(store.followers->add("slow", LogPosition(0)).ok());
  ASSERT_TRUE(store.followers->add("fast", LogPosition(0)).ok());
  const LogPosition last = write_some(store, session, 60, "a");
  EXPECT_EQ(history_.position(), last);
  EXPECT_GE(store.kept.bytes(), 4U * (16 << 10));
  EXPECT_EQ(follow(store, LogPosition(0)), last);
  ASSERT_TRUE(store.followers->advance("fast", last, last).ok());
  store.index();
  EXPECT_GE(store.kept.bytes(), 4U * (16 << 10)) << "the slow one needs them";
  ASSERT_TRUE(store.followers->advance("slow", LogPosition(30), last).ok());
  store.index();
  EXPECT_TRUE(store.kept.covers(LogPosition(30), last));
  EXPECT_FALSE(store.kept.covers(LogPosition(1), last)) << "what all have passed is free";
  ASSERT_TRUE(store.followers->remove("slow").ok());
  store.index();
  EXPECT_EQ(store.kept.bytes(), 0U);
}

TEST_F(FollowersTest, TheFeedOfKeptSegmentsNeverAsksHistory) {
  LogHarness store(files_, history_, small_segments());
  const SessionKey session = store.open_session();
  ASSERT_TRUE(store.followers->add("search", LogPosition(0)).ok());
  const LogPosition last = write_some(store, session, 60, "a");
  history_.feeds = 0;
  EXPECT_EQ(follow(store, LogPosition(0)), last);
  EXPECT_EQ(history_.feeds, 0U);
  // Where a record of the segment is damaged, history gives that page.
  const std::string file = "data/log/" + store.kept.files_above(LogPosition(0)).front();
  std::string bytes = files_.content(file);
  bytes[bytes.find("xxxxxxxx") + 5000] ^= 1;
  files_.set_content(file, bytes);
  store.kept.cool();
  store.kept.cool();
  EXPECT_EQ(follow(store, LogPosition(0)), last);
  EXPECT_GT(history_.feeds, 0U);
}

TEST_F(FollowersTest, PositionsAndKeptSegmentsOutliveAKill) {
  LogPosition last;
  {
    LogHarness store(files_, history_, small_segments());
    const SessionKey session = store.open_session();
    ASSERT_TRUE(store.followers->add("search", LogPosition(0)).ok());
    last = write_some(store, session, 60, "a");
    ASSERT_TRUE(store.followers->advance("search", LogPosition(20), last).ok());
  }
  files_.kill();
  LogHarness store(files_, history_, small_segments());
  ASSERT_TRUE(store.alive) << store.failure;
  ASSERT_EQ(store.followers->all().size(), 1U);
  EXPECT_EQ(store.followers->all()[0].position, LogPosition(20));
  store.index();
  EXPECT_TRUE(store.kept.covers(LogPosition(20), last));
  history_.feeds = 0;
  EXPECT_EQ(follow(store, LogPosition(20)), last);
  EXPECT_EQ(history_.feeds, 0U);
}

TEST_F(FollowersTest, OneThatStopsIsLeftBehindAtTheBoundAndTheOthersAreNot) {
  LogHarness::Options options = small_segments();
  options.kept_bytes = 6 * (16 << 10);
  LogPosition last;
  {
    LogHarness store(files_, history_, options);
    const SessionKey session = store.open_session();
    ASSERT_TRUE(store.followers->add("stopped", LogPosition(0)).ok());
    ASSERT_TRUE(store.followers->add("alive", LogPosition(0)).ok());
    for (int round = 0; round < 12; ++round) {
      last = write_some(store, session, 14, "r" + std::to_string(round) + "-");
      ASSERT_TRUE(store.followers->advance("alive", last, last).ok());
      store.index();
      EXPECT_LE(store.kept.bytes(), options.kept_bytes);
    }
    EXPECT_EQ(store.followers->advance("stopped", last, last).error().code(), ErrorCode::WrongState);
  }
  files_.kill();
  LogHarness store(files_, history_, options);
  const auto all = store.followers->all();
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[0].name, "alive");
  EXPECT_FALSE(all[0].reset);
  EXPECT_EQ(all[0].position, last);
  EXPECT_TRUE(all[1].reset) << "durably";
}

TEST_F(FollowersTest, NothingIsFreedBeforeTheMarkIsDurable) {
  LogHarness::Options options = small_segments();
  options.kept_bytes = 3 * (16 << 10);
  LogHarness store(files_, history_, options);
  const SessionKey session = store.open_session();
  ASSERT_TRUE(store.followers->add("stopped", LogPosition(0)).ok());
  const LogPosition last = write_some(store, session, 12, "a");
  files_.fail(FaultyFileSystem::Call::Rename, 0, ErrorCode::Io, UINT64_MAX);
  const LogPosition later = write_some(store, session, 60, "b");
  EXPECT_FALSE(store.followers->all()[0].reset);
  EXPECT_TRUE(store.kept.covers(LogPosition(0), later)) << "over the bound rather than lost in silence";
  EXPECT_EQ(follow(store, LogPosition(0)), later);
  EXPECT_GT(later, last);
  files_.heal();
  store.index();
  EXPECT_TRUE(store.followers->all()[0].reset);
  EXPECT_EQ(store.kept.bytes(), 0U);
}

TEST_F(FollowersTest, PositionsOfAnotherEpochAreReset) {
  {
    auto table = Followers::open(files_, "data", Epoch{1});
    ASSERT_TRUE((*table)->add("search", LogPosition(9)).ok());
  }
  for (int start = 0; start < 2; ++start) {
    auto table = Followers::open(files_, "data", Epoch{2});
    ASSERT_TRUE(table.ok());
    EXPECT_TRUE((*table)->all().at(0).reset);
  }
}

TEST_F(FollowersTest, ADamagedTableIsMovedAsideAndItsFollowersAreNew) {
  {
    auto table = Followers::open(files_, "data", Epoch{1});
    ASSERT_TRUE((*table)->add("search", LogPosition(9)).ok());
  }
  const std::string whole = files_.content("data/followers");
  for (std::size_t at = 0; at < whole.size(); ++at) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
    files_.set_content("data/followers", damaged);
    auto table = Followers::open(files_, "data", Epoch{1});
    ASSERT_TRUE(table.ok());
    EXPECT_TRUE((*table)->all().empty()) << at;
    EXPECT_EQ(files_.content("data/followers.damaged"), damaged);
  }
}

// A follower that has processed up to its position never gets less after a power cut, and never a hole.
TEST_F(FollowersTest, ConfirmedMovesAndWhatIsBehindThemOutliveThePowerOverManySeeds) {
  std::uint64_t moves = 0;
  for (std::uint64_t seed = 1; seed <= 150 && !HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    FaultyFileSystem files(seed);
    FakeHistory history;
    std::mt19937_64 random(seed);
    LogPosition confirmed;
    LogPosition asked;
    bool registered = false;
    for (int life = 0; life < 4; ++life) {
      files.cut_power_after(20 + random() % 150);
      {
        LogHarness store(files, history, small_segments());
        if (store.alive && !files.power_is_cut()) {
          const auto all = store.followers->all();
          ASSERT_TRUE(!registered || all.size() == 1) << "a confirmed registration is gone";
          if (!all.empty()) {
            EXPECT_FALSE(all[0].reset);
            EXPECT_GE(all[0].position, confirmed);
            EXPECT_LE(all[0].position, asked);
          }
          registered = store.followers->add("search", LogPosition(0)).ok() || registered;
          const SessionKey session = store.open_session();
          for (int i = 0; i < 40 && !files.power_is_cut(); ++i) {
            const std::string id = "l" + std::to_string(life) + "-" + std::to_string(i);
            store.send(session, "ann", "ben", id, std::string(random() % 3000, 'x'));
            if (random() % 5 == 0) store.index();
            const LogPosition settled = store.committer->settled();
            if (random() % 3 != 0 || settled < asked || files.power_is_cut()) continue;
            const LogPosition reached = follow(store, confirmed);
            if (files.power_is_cut()) break;
            EXPECT_EQ(reached, settled) << "a hole in the feed";
            asked = reached;
            if (!store.followers->advance("search", reached, settled).ok()) continue;
            confirmed = reached;
            ++moves;
          }
        }
      }
      files.restart();
    }
  }
  EXPECT_GT(moves, 500U);
}

}  // namespace
}  // namespace dunlin::embedded

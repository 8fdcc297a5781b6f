#include "storage/embedded/log/window.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "storage/embedded/log/testing/log_harness.h"

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
  EXPECT_FALSE(store.reader.news_since_in_memory({.user = UserId("ben"), .after = InboxPosition(0)}).has_value());
}

TEST_F(WindowTest, WhatHistoryHoldsIsReadFromMemoryAsLongAsThereIsRoom) {
  LogHarness store(files_, history_, keeping(1 << 20));
  store_three(store);
  EXPECT_GT(store.window.record_bytes(), 0U);
  EXPECT_LT(store.window.waiting_bytes(), store.window.bytes()) << "but it does not wait for history";
  const auto news = store.reader.news_since_in_memory({.user = UserId("ben"), .after = InboxPosition(1)});
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
  const NewsQuery below{.user = UserId("ben"), .after = to_inbox(keeping_some.window.floor().prev())};
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

// What was sent, and what a look at all of it says of a user's conversations.
struct Sent {
  ConversationId conversation;
  LogPosition position;
};
using Last = std::pair<LogPosition, std::string>;

std::vector<Last> lasts(const std::vector<Sent>& sent, std::string_view user, LogPosition after, LogPosition through) {
  std::map<std::string, LogPosition> last;
  for (const Sent& one : sent) {
    const auto pair = parse_private(one.conversation.view());
    const bool his = pair && (pair->first == user || pair->second == user);
    if (his && one.position > after && one.position <= through) last[std::string(one.conversation.view())] = one.position;
  }
  std::vector<Last> out;
  for (const auto& [conversation, position] : last) out.emplace_back(position, conversation);
  std::ranges::sort(out);
  return out;
}

std::vector<Last> entries_of(const ActivityPage& page) {
  std::vector<Last> out;
  for (const ActivityEntry& entry : page.entries) out.emplace_back(entry.last_position, entry.conversation.view());
  return out;
}

TEST_F(WindowTest, TellsActivityAsALookAtAllRecordsDoes) {
  std::mt19937 random(7);
  const auto up_to = [&](std::uint64_t most) { return std::uniform_int_distribution<std::uint64_t>(0, most)(random); };
  std::vector<std::string> names{"ann", "ben"};  // who send, to all; the window holds few or many of their conversations
  for (int i = 0; i < 200; ++i) names.push_back("peer" + std::to_string(i));
  LogHarness store(files_, history_, keeping(40'000));
  int ordered = 0;
  int unordered = 0;
  const SessionKey session = store.open_session();
  std::vector<Sent> sent;
  for (int round = 0; round < 3000; ++round) {
    const std::string& from = names[up_to(1)];
    const bool few = round % 1000 < 500;
    const std::string& to = names[up_to(few ? 20 : names.size() - 1)];
    const AppendOutcome stored = store.send(session, from, to, "m" + std::to_string(round));
    ASSERT_FALSE(stored.refused);
    sent.push_back({private_conversation(from, to), stored.message->place().position});
    if (up_to(199) == 0) {
      ASSERT_TRUE(store.writer->seal().ok());
      store.index();
    }
    {
      WindowUsers::Shard& shard = store.window.users().shard_of(names[0]);
      WindowUsersLock lock(shard);
      const auto found = shard.users.find(names[0]);
      if (found != shard.users.end()) ++(found->second->ordered ? ordered : unordered);
    }
    const LogPosition floor(store.window.floor().value() + up_to(2) * up_to(40));
    const LogPosition newest = sent.back().position;
    const LogPosition from_position(up_to(1) == 0 ? UINT64_MAX : floor.value() + up_to(newest.value() - std::min(newest, floor).value()));
    const std::size_t limit = 1 + up_to(9);
    for (const std::string& user : {names[0], names[1], to}) {
      auto all = lasts(sent, user, floor, from_position);
      std::ranges::reverse(all);
      const ActivityPage newest_first = store.window.activity_newest(user, floor, from_position, limit);
      ASSERT_EQ(newest_first.more, all.size() > limit) << "round " << round;
      all.resize(std::min(all.size(), limit));
      ASSERT_EQ(entries_of(newest_first), all) << "round " << round;

      const ActivityPage since = store.window.activity_since(user, floor, limit);
      ASSERT_EQ(since.more, lasts(sent, user, floor, newest).size() > limit) << "round " << round;
      if (!since.more) {
        ASSERT_EQ(since.scanned_to, std::max(newest, floor));
      }
      auto entries = entries_of(since);
      std::ranges::sort(entries);
      ASSERT_EQ(entries, lasts(sent, user, floor, since.scanned_to)) << "round " << round;
      ASSERT_TRUE(std::ranges::is_sorted(since.entries, {}, &ActivityEntry::first_position)) << "round " << round;
    }
  }
  EXPECT_GT(store.window.floor(), LogPosition(0)) << "nothing has left the window";
  EXPECT_GT(ordered, 500);
  EXPECT_GT(unordered, 500);
}

}  // namespace
}  // namespace dunlin::embedded

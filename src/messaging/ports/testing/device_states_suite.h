#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "messaging/model/conversation.h"
#include "messaging/ports/device_states.h"
#include "runtime/spawn.h"

// The conformance suite of DeviceStates: each promise of messaging/ports/device_states.h is a case here. Use it as store_suite.h.
namespace dunlin {

// One fresh, empty store.
class DeviceStatesFixture {
 public:
  virtual ~DeviceStatesFixture() = default;
  virtual DeviceStates& store() = 0;
  // Every user's inbox stands at this position now, told to the last record.
  virtual void stand_at(InboxPosition position) = 0;
  // Closes the store as kill -9 would and opens it again. False: cannot.
  virtual bool reopen() { return false; }
};
using DeviceStatesFactory = std::function<std::unique_ptr<DeviceStatesFixture>()>;

class DeviceStatesSuite : public testing::TestWithParam<DeviceStatesFactory> {
 protected:
  void SetUp() override {
    fixture_ = GetParam()();
    ASSERT_NE(fixture_, nullptr);
  }
  DeviceStates& store() { return fixture_->store(); }

  template <class T>
  T get(Task<Result<T>> task) {
    Result<T> result = block_on(std::move(task));
    if (!result.ok()) {
      ADD_FAILURE() << result.error().to_string();
      return T{};
    }
    return *std::move(result);
  }
  void done(Task<Status> task) {
    const Status status = block_on(std::move(task));
    EXPECT_TRUE(status.ok()) << (status.ok() ? "" : status.error().to_string());
  }

  static DeviceStates::CursorWrite write(std::string_view user, std::string_view device, std::uint64_t position) {
    DeviceStates::CursorWrite out{UserId(user), DeviceId(device), {}};
    out.cursor.epoch = Epoch{42};
    out.cursor.position = InboxPosition(position);
    out.cursor.last_seen = from_ms(1'700'000'000'000 + static_cast<std::int64_t>(position));
    return out;
  }
  void save(DeviceStates::CursorWrite one) {
    std::vector<DeviceStates::CursorWrite> writes;
    writes.push_back(std::move(one));
    done(store().save_cursors(std::move(writes)));
  }
  std::map<std::string, DeviceCursor> devices(std::string_view user) {
    std::map<std::string, DeviceCursor> out;
    for (DeviceRow& row : get(store().devices(UserId(user)))) {
      EXPECT_TRUE(out.emplace(row.device.str(), std::move(row.cursor)).second) << "a device twice";
    }
    return out;
  }
  std::uint64_t raise(std::string_view user, std::string_view peer, std::uint64_t seq, std::uint64_t at) {
    fixture_->stand_at(InboxPosition(at));
    ReadRaise raise{UserId(user), private_conversation(user, peer), MessageSeq(seq), {}};
    if (peer != user) raise.watchers.emplace_back(peer);
    return get(store().raise_read(std::move(raise))).value();
  }
  std::uint64_t read_seq(std::string_view user, std::string_view peer) {
    const auto seqs = get(store().read_positions({ReadKey{UserId(user), private_conversation(user, peer)}}));
    return seqs.size() == 1 ? seqs[0].value() : UINT64_MAX;
  }

  std::unique_ptr<DeviceStatesFixture> fixture_;
};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(DeviceStatesSuite);

TEST_P(DeviceStatesSuite, AnUnknownUserHasNothing) {
  EXPECT_TRUE(devices("alice").empty());
  EXPECT_EQ(read_seq("alice", "bob"), 0U);
  const ReadChangePage page = get(store().read_changes_since(UserId("alice"), InboxPosition(0), 10));
  EXPECT_TRUE(page.changes.empty());
  EXPECT_FALSE(page.more);
  EXPECT_TRUE(get(store().read_positions({})).empty());
  done(store().save_cursors({}));
}

TEST_P(DeviceStatesSuite, ACursorComesBackAsItWasSaved) {
  DeviceStates::CursorWrite saved = write("alice", "phone", 77);
  for (std::uint64_t i = 1; i <= 40; ++i) {
    saved.cursor.exceptions[private_conversation("alice", "peer" + std::to_string(i))] = MessageSeq(i * 1'000'000'007);
  }
  const DeviceCursor truth = saved.cursor;
  save(std::move(saved));
  const auto rows = devices("alice");
  ASSERT_EQ(rows.size(), 1U);
  const DeviceCursor& got = rows.at("phone");
  EXPECT_EQ(got.epoch, truth.epoch);
  EXPECT_EQ(got.position, truth.position);
  EXPECT_EQ(got.exceptions, truth.exceptions);
  EXPECT_EQ(got.last_seen, truth.last_seen);
  EXPECT_EQ(got.platform, truth.platform);
}

TEST_P(DeviceStatesSuite, WhatMemoryKnowsOfADeviceIsWhatItsRowSays) {
  const auto in_memory = [&](std::string_view device) { return store().device_in_memory(UserId("alice"), DeviceId(device)); };
  DeviceStates::CursorWrite saved = write("alice", "phone", 77);
  saved.cursor.platform = static_cast<metrics::Platform>(3);
  save(std::move(saved));
  const DeviceStates::InMemory known = in_memory("phone");
  ASSERT_TRUE(known.known) << "just written";
  ASSERT_TRUE(known.cursor);
  EXPECT_EQ(known.cursor->position, InboxPosition(77));
  EXPECT_EQ(known.cursor->platform, static_cast<metrics::Platform>(3));
  EXPECT_FALSE(known.cursor->forgotten);
  done(store().save_cursors({{UserId("alice"), DeviceId("phone"), DeviceCursor::of_forgotten(from_ms(5))}}));
  EXPECT_TRUE(in_memory("phone").cursor->forgotten);
  EXPECT_TRUE(devices("alice").at("phone").forgotten);
  EXPECT_FALSE(in_memory("phon").cursor);
  EXPECT_FALSE(in_memory("phones").cursor);
  done(store().forget_device(UserId("alice"), DeviceId("phone")));
  EXPECT_FALSE(in_memory("phone").cursor);
}

TEST_P(DeviceStatesSuite, TheLastWriteOfADeviceWinsEvenWhenItIsLower) {
  save(write("alice", "phone", 10));
  save(write("alice", "phone", 7));
  EXPECT_EQ(devices("alice").at("phone").position, InboxPosition(7));
  std::vector<DeviceStates::CursorWrite> twice;
  twice.push_back(write("alice", "phone", 20));
  twice.push_back(write("alice", "phone", 15));
  done(store().save_cursors(std::move(twice)));
  EXPECT_EQ(devices("alice").at("phone").position, InboxPosition(15));
}

TEST_P(DeviceStatesSuite, ANoteMakesNoDeviceAndComesBeforeNoLaterSave) {
  const std::vector<DeviceStates::CursorWrite> notes{write("alice", "phone", 5), write("bob", "phone", 5)};
  store().note_cursors(notes);
  EXPECT_TRUE(devices("alice").empty());
  save(write("alice", "phone", 7));
  EXPECT_EQ(devices("alice").at("phone").position, InboxPosition(7));
  const std::vector<DeviceStates::CursorWrite> on{write("alice", "phone", 9)};
  store().note_cursors(on);
  const InboxPosition shown = devices("alice").at("phone").position;
  EXPECT_TRUE(shown == InboxPosition(7) || shown == InboxPosition(9)) << shown.value();
  save(write("alice", "phone", 8));
  EXPECT_EQ(devices("alice").at("phone").position, InboxPosition(8));
  done(store().forget_device(UserId("alice"), DeviceId("phone")));
  store().note_cursors(on);
  EXPECT_TRUE(devices("alice").empty());
  save({UserId("alice"), DeviceId("phone"), DeviceCursor::of_forgotten(from_ms(1'700'000'000'000))});
  store().note_cursors(on);
  EXPECT_TRUE(devices("alice").at("phone").forgotten);
  store().note_cursors({});
}

TEST_P(DeviceStatesSuite, UsersAndDevicesWhoseNamesTouchStayApart) {
  // Names that run into each other under careless keys.
  std::vector<DeviceStates::CursorWrite> writes;
  std::uint64_t position = 1;
  const std::vector<std::pair<std::string, std::string>> names{{"a", "bc"},
                                                               {"ab", "c"},
                                                               {"a", "b"},
                                                               {"a:b", "c"},
                                                               {"a", "b:c"},
                                                               {"a/b", "c"},
                                                               {"a\xC3\xBF", "b"},
                                                               {"a",
                                                                "\xC3\xBF"
                                                                "b"}};
  for (const auto& [user, device] : names) writes.push_back(write(user, device, position++));
  done(store().save_cursors(std::move(writes)));
  position = 1;
  for (const auto& [user, device] : names) EXPECT_EQ(devices(user).at(device).position, InboxPosition(position++)) << user << " " << device;
  EXPECT_EQ(devices("a").size(), 4U);
  EXPECT_EQ(devices("ab").size(), 1U);
  const auto together = get(store().devices_of({UserId("ab"), UserId("nobody"), UserId("a"), UserId("ab")}));
  ASSERT_EQ(together.size(), 4U);
  EXPECT_EQ(together[0].size(), 1U);
  EXPECT_TRUE(together[1].empty());
  EXPECT_EQ(together[2].size(), 4U);
  EXPECT_EQ(together[3].size(), 1U);
}

TEST_P(DeviceStatesSuite, AForgottenDeviceIsGoneAndTheOthersStay) {
  save(write("alice", "phone", 1));
  save(write("alice", "laptop", 2));
  done(store().forget_device(UserId("alice"), DeviceId("phone")));
  done(store().forget_device(UserId("alice"), DeviceId("never-seen")));
  const auto rows = devices("alice");
  EXPECT_EQ(rows.size(), 1U);
  EXPECT_TRUE(rows.contains("laptop"));
}

TEST_P(DeviceStatesSuite, ReadPositionsOnlyRise) {
  EXPECT_EQ(raise("alice", "bob", 5, 1), 5U);
  EXPECT_EQ(raise("alice", "bob", 3, 2), 5U);
  EXPECT_EQ(raise("alice", "bob", 5, 3), 5U);
  EXPECT_EQ(raise("alice", "bob", 9, 4), 9U);
  EXPECT_EQ(read_seq("alice", "bob"), 9U);
  EXPECT_EQ(read_seq("bob", "alice"), 0U) << "each user has his own";
}

TEST_P(DeviceStatesSuite, ReadPositionsComeInTheOrderOfTheirKeys) {
  std::vector<ReadKey> keys;
  for (std::uint64_t i = 0; i < 50; ++i) {
    const std::string peer = "peer" + std::to_string(i);
    if (i % 2 == 0) raise("alice", peer, i + 1, 1);
    keys.push_back({UserId("alice"), private_conversation("alice", peer)});
  }
  const auto seqs = get(store().read_positions(std::move(keys)));
  ASSERT_EQ(seqs.size(), 50U);
  for (std::uint64_t i = 0; i < 50; ++i) EXPECT_EQ(seqs[i].value(), i % 2 == 0 ? i + 1 : 0);
}

TEST_P(DeviceStatesSuite, ConcurrentRaisesConvergeToTheMaximum) {
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([this, t] {
      std::mt19937_64 random(t);
      for (int i = 0; i < 100; ++i) {
        const std::uint64_t seq = random() % 1000 + 1;
        ReadRaise raise{UserId("alice"), private_conversation("alice", "bob"), MessageSeq(seq), {UserId("bob")}};
        const auto held = block_on(store().raise_read(std::move(raise)));
        EXPECT_TRUE(held.ok() && held->value() >= seq);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::uint64_t highest = 0;
  for (std::uint64_t t = 0; t < 4; ++t) {
    std::mt19937_64 random(t);
    for (int i = 0; i < 100; ++i) highest = std::max(highest, random() % 1000 + 1);
  }
  EXPECT_EQ(read_seq("alice", "bob"), highest);
}

TEST_P(DeviceStatesSuite, ReadChangesAreFoundByTheReaderAndByTheWatchers) {
  raise("alice", "bob", 1, 10);
  raise("alice", "carol", 1, 20);
  raise("dave", "alice", 1, 30);
  const auto changes_of = [&](std::string_view user, std::uint64_t since) {
    std::vector<std::pair<std::string, std::uint64_t>> out;
    for (const ReadChange& change : get(store().read_changes_since(UserId(user), InboxPosition(since), 10)).changes) {
      out.emplace_back(change.conversation.str(), change.at.value());
    }
    return out;
  };
  using Changes = std::vector<std::pair<std::string, std::uint64_t>>;
  const std::string with_bob = private_conversation("alice", "bob").str();
  const std::string with_carol = private_conversation("alice", "carol").str();
  const std::string with_dave = private_conversation("alice", "dave").str();
  EXPECT_EQ(changes_of("alice", 0), (Changes{{with_bob, 10}, {with_carol, 20}, {with_dave, 30}}));
  EXPECT_EQ(changes_of("alice", 20), (Changes{{with_carol, 20}, {with_dave, 30}})) << "at or after";
  EXPECT_EQ(changes_of("alice", 31), Changes{});
  EXPECT_EQ(changes_of("bob", 0), (Changes{{with_bob, 10}}));
  EXPECT_EQ(changes_of("carol", 0), (Changes{{with_carol, 20}}));
  EXPECT_EQ(changes_of("erin", 0), Changes{});
}

TEST_P(DeviceStatesSuite, AConversationIsListedOnceAtItsNewestRaise) {
  raise("alice", "bob", 1, 10);
  raise("alice", "carol", 1, 11);
  raise("alice", "bob", 2, 12);
  raise("bob", "alice", 1, 13);
  raise("alice", "bob", 2, 14);  // no rise
  raise("alice", "bob", 1, 15);  // no rise
  const ReadChangePage page = get(store().read_changes_since(UserId("alice"), InboxPosition(0), 10));
  ASSERT_EQ(page.changes.size(), 2U);
  EXPECT_EQ(page.changes[0].conversation, private_conversation("alice", "carol"));
  EXPECT_EQ(page.changes[1].conversation, private_conversation("alice", "bob"));
  EXPECT_EQ(page.changes[1].at, InboxPosition(13));
}

TEST_P(DeviceStatesSuite, ReadChangesArePagedByTheirPosition) {
  for (std::uint64_t i = 1; i <= 23; ++i) raise("alice", "peer" + std::to_string(i), 1, i * 10);
  std::vector<std::uint64_t> got;
  InboxPosition since;
  for (bool more = true; more;) {
    const ReadChangePage page = get(store().read_changes_since(UserId("alice"), since, 5));
    ASSERT_LE(page.changes.size(), 5U);
    more = page.more;
    ASSERT_FALSE(page.changes.empty());
    for (const ReadChange& change : page.changes) got.push_back(change.at.value());
    since = page.changes.back().at.next();
  }
  ASSERT_EQ(got.size(), 23U);
  EXPECT_TRUE(std::ranges::is_sorted(got));
}

// For stores whose rows outlive the process. A fixture of the others does not instantiate it.
class DurableDeviceStatesSuite : public DeviceStatesSuite {};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(DurableDeviceStatesSuite);

TEST_P(DurableDeviceStatesSuite, RowsThatWereConfirmedSurviveAKill) {
  DeviceStates::CursorWrite saved = write("alice", "phone", 99);
  saved.cursor.exceptions[private_conversation("alice", "bob")] = MessageSeq(3);
  save(std::move(saved));
  save(write("alice", "old", 1));
  done(store().forget_device(UserId("alice"), DeviceId("old")));
  raise("alice", "bob", 8, 50);
  ASSERT_TRUE(fixture_->reopen());
  const auto rows = devices("alice");
  ASSERT_EQ(rows.size(), 1U);
  EXPECT_EQ(rows.at("phone").position, InboxPosition(99));
  EXPECT_EQ(rows.at("phone").exceptions.size(), 1U);
  EXPECT_EQ(read_seq("alice", "bob"), 8U);
  EXPECT_EQ(get(store().read_changes_since(UserId("bob"), InboxPosition(50), 10)).changes.size(), 1U);
  EXPECT_EQ(raise("alice", "bob", 4, 60), 8U);
}

}  // namespace dunlin

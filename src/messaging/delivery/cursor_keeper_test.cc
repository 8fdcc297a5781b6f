// CursorKeeper over the memory stores.
#include "messaging/delivery/cursor_keeper.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "messaging/model/conversation.h"
#include "runtime/spawn.h"
#include "runtime/worker.h"
#include "storage/memory/memory_message_store.h"
#include "storage/memory/memory_state_store.h"

namespace dunlin {
namespace {

class CursorKeeperTest : public testing::Test {
 protected:
  static MemoryStoreOptions options(const Clock& clock) {
    MemoryStoreOptions out;
    out.clock = &clock;
    return out;
  }
  void send(int count, std::string_view from = "alice", std::string_view to = "bob") {
    for (int i = 0; i < count; ++i) {
      AppendRequest request;
      request.message = Message::create({private_conversation(from, to).view(), from, "m" + std::to_string(++sends_), {}, "{}"});
      store_.append({&request, 1});
    }
  }
  Result<Attachment> try_attach(AttachRequest request) { return block_on(keeper_.attach(std::move(request))); }
  Attachment attach(AttachRequest request) {
    auto out = try_attach(std::move(request));
    EXPECT_TRUE(out.ok());
    return out.ok() ? *std::move(out) : Attachment();
  }
  static AttachRequest device(std::string_view name) { return {UserId("bob"), DeviceId(name), std::nullopt, false, std::nullopt}; }
  static AttachRequest connected(std::string_view name, std::vector<std::string> devices) {
    AttachRequest out = device(name);
    devices.emplace_back(name);
    out.connected = [devices](const DeviceId& each) { return std::ranges::find(devices, each.view()) != devices.end(); };
    return out;
  }
  // Those that count: neither forgotten nor idle.
  std::vector<std::string> known() {
    std::vector<std::string> out;
    const auto all = block_on(state_.devices(UserId("bob")));
    for (const DeviceRow& row : *all) {
      if (!row.cursor.forgotten && !DeviceRules{}.idle(row.cursor, clock_.wall())) out.push_back(row.device.str());
    }
    return out;
  }
  AttachRequest with_token(std::string_view name, std::optional<std::uint64_t> position) {
    AttachRequest out = device(name);
    out.token = SyncToken{store_.epoch(), std::nullopt, InboxPosition(0), clock_.wall()};
    if (position) out.token->position = InboxPosition(*position);
    out.token_given = true;
    return out;
  }
  void save(std::string_view name, std::uint64_t position, std::map<ConversationId, MessageSeq> exceptions = {}) {
    keeper_.keep({UserId("bob"), DeviceId(name), {store_.epoch(), InboxPosition(position), std::move(exceptions), clock_.wall()}});
    EXPECT_TRUE(block_on(keeper_.save()).ok());
  }
  std::size_t rows() { return block_on(state_.devices(UserId("bob")))->size(); }

  ManualClock clock_;
  MemoryMessageStore store_{options(clock_)};
  MemoryStateStore state_{store_};
  DeviceTurns turns_;
  CursorKeeper keeper_{store_, store_, state_, clock_, turns_};
  int sends_ = 0;
};

TEST_F(CursorKeeperTest, AUserWhoNeverConnectedGetsWhatWasWrittenToHimBefore) {
  send(5);
  const Attachment first = attach(device("phone"));
  EXPECT_EQ(first.cursor.position, InboxPosition(0));
  EXPECT_EQ(first.resume, Resume::Complete);
  EXPECT_EQ(rows(), 1U) << "the device is known from now on";
}

TEST_F(CursorKeeperTest, WhatWasKeptOfAForgottenDeviceIsNotWritten) {
  keeper_.keep({UserId("bob"), DeviceId("phone"), {store_.epoch(), InboxPosition(0), {}, clock_.wall()}});
  keeper_.keep({UserId("bob"), DeviceId("laptop"), {store_.epoch(), InboxPosition(0), {}, clock_.wall()}});
  block_on(keeper_.forget(UserId("bob"), DeviceId("phone")));
  EXPECT_EQ(keeper_.kept(), 1U);
  EXPECT_TRUE(block_on(keeper_.save()).ok());
  EXPECT_EQ(rows(), 1U);
}

TEST_F(CursorKeeperTest, TheRulesAboutDevicesAreThoseItWasGiven) {
  CursorKeeper strict(store_, store_, state_, clock_, turns_, {.max_devices = 1, .forget_after = std::chrono::hours(24)});
  EXPECT_TRUE(block_on(strict.attach(device("phone"))).ok());
  EXPECT_EQ(block_on(strict.attach(connected("laptop", {"phone"}))).error().code(), ErrorCode::DeviceLimit);
  clock_.advance(std::chrono::hours(25));
  EXPECT_EQ(block_on(strict.attach(connected("laptop", {"phone"}))).error().code(), ErrorCode::DeviceLimit)
      << "who is connected is not idle, whatever his row says";
  EXPECT_TRUE(block_on(strict.attach(device("laptop"))).ok()) << "the idle one is forgotten";
}

TEST_F(CursorKeeperTest, ANewDeviceStartsWhereTheFarthestDeviceIs) {
  send(9);
  save("phone", 3);
  save("laptop", 7, {{private_conversation("alice", "bob"), MessageSeq(5)}});
  const Attachment tablet = attach(device("tablet"));
  EXPECT_EQ(tablet.cursor.position, InboxPosition(7));
  EXPECT_EQ(tablet.cursor.exceptions.size(), 1U);
  EXPECT_EQ(attach(device("phone")).cursor.position, InboxPosition(3));
}

TEST_F(CursorKeeperTest, ANewDeviceStartsAtWhatAnotherHadAckedAtItsEndAlsoBeforeThatIsStored) {
  send(9);
  save("phone", 3);
  save("laptop", 5);
  AttachRequest request = device("tablet");
  request.unsaved = [this] {
    return std::map<DeviceId, DeviceCursor>{{DeviceId("phone"), {store_.epoch(), InboxPosition(8), {}, clock_.wall()}}};
  };
  EXPECT_EQ(attach(std::move(request)).cursor.position, InboxPosition(8));
  EXPECT_EQ(attach(device("tablet")).cursor.position, InboxPosition(8)) << "its own row says so from now on";
}

TEST_F(CursorKeeperTest, WhatIsStoredBetweenTheLooksIsInOneOfThem) {
  send(9);
  save("phone", 3);
  AttachRequest request = device("tablet");
  request.unsaved = [this] {
    save("phone", 8);  // and the store has confirmed it, so it is unsaved no more
    return std::map<DeviceId, DeviceCursor>();
  };
  EXPECT_EQ(attach(std::move(request)).cursor.position, InboxPosition(8));
}

TEST_F(CursorKeeperTest, ATokenWinsBelowAndAboveTheStoredCursorWithoutARead) {
  send(9);
  save("phone", 5, {{private_conversation("alice", "bob"), MessageSeq(2)}});
  state_.set_failures(1);  // no row can be read
  for (const std::uint64_t position : {2U, 8U}) {
    const Attachment got = attach(with_token("phone", position));
    EXPECT_EQ(got.cursor.position, InboxPosition(position));
    EXPECT_TRUE(got.cursor.exceptions.empty());
    EXPECT_EQ(got.resume, Resume::Complete);
  }
}

TEST_F(CursorKeeperTest, ATokenThatSaysNothingAboutAcksLeavesTheStoredCursor) {
  send(9);
  save("phone", 5);
  EXPECT_EQ(attach(with_token("phone", std::nullopt)).cursor.position, InboxPosition(5));
}

TEST_F(CursorKeeperTest, TheCursorOfTheReplacedSessionIsTakenOver) {
  send(9);
  save("phone", 2);
  AttachRequest request = device("phone");
  request.inherited = DeviceCursor{store_.epoch(), InboxPosition(6), {}, {}};
  EXPECT_EQ(attach(std::move(request)).cursor.position, InboxPosition(6));
}

TEST_F(CursorKeeperTest, PositionsOfAnotherEpochAreReset) {
  send(9);
  AttachRequest request = with_token("phone", 5);
  request.token->epoch.value ^= 1;
  const Attachment by_token = attach(std::move(request));
  EXPECT_EQ(by_token.resume, Resume::Reset);
  EXPECT_EQ(by_token.cursor.position, InboxPosition(9));
  EXPECT_EQ(by_token.cursor.epoch, store_.epoch());

  keeper_.keep({UserId("bob"), DeviceId("old"), {Epoch{1}, InboxPosition(4), {}, clock_.wall()}});
  EXPECT_TRUE(block_on(keeper_.save()).ok());
  EXPECT_EQ(attach(device("old")).resume, Resume::Reset);
}

TEST_F(CursorKeeperTest, ATokenBeyondTheStoreIsResetAndEndsTheEpoch) {
  send(3);
  const Epoch before = store_.epoch();
  EXPECT_EQ(attach(with_token("phone", 3)).resume, Resume::Complete);
  EXPECT_EQ(store_.epoch(), before);
  const AttachRequest proof = with_token("phone", 4);
  const Attachment reset = attach(proof);
  EXPECT_EQ(reset.resume, Resume::Reset);
  EXPECT_NE(store_.epoch(), before);
  EXPECT_EQ(reset.cursor.epoch, store_.epoch());
  const Epoch after = store_.epoch();
  EXPECT_EQ(attach(proof).resume, Resume::Reset) << "of an epoch that is over";
  EXPECT_EQ(store_.epoch(), after);
}

TEST_F(CursorKeeperTest, ATokenOfAnEarlierRunIsMeasuredByWhereThisOneBegan) {
  send(3);
  const Epoch before = store_.epoch();
  AttachRequest request = with_token("phone", 3);
  request.token->run = store_.run();
  EXPECT_EQ(attach(request).resume, Resume::Complete);
  EXPECT_EQ(store_.epoch(), before);
  request.token->run ^= 2;  // minted before this store, which was empty, was opened
  EXPECT_EQ(attach(request).resume, Resume::Reset);
  EXPECT_NE(store_.epoch(), before);
}

TEST_F(CursorKeeperTest, ATokenOfAnotherEpochProvesNothing) {
  send(3);
  const Epoch before = store_.epoch();
  AttachRequest request = with_token("phone", 99);
  request.token->epoch.value ^= 1;
  EXPECT_EQ(attach(std::move(request)).resume, Resume::Reset);
  EXPECT_EQ(store_.epoch(), before);
}

TEST_F(CursorKeeperTest, ARowBeyondTheStoreEndsTheEpoch) {
  send(3);
  for (const std::string_view connecting : {"phone", "another"}) {
    const Epoch before = store_.epoch();
    save("phone", 4);
    const Attachment reset = attach(device(connecting));
    EXPECT_EQ(reset.resume, Resume::Reset) << connecting;
    EXPECT_NE(store_.epoch(), before);
    EXPECT_EQ(reset.cursor.epoch, store_.epoch());
  }
}

TEST_F(CursorKeeperTest, WhatTheAppClaimsResetsItAlone) {
  send(3);
  save("phone", 2);
  const Epoch before = store_.epoch();
  AttachRequest request = with_token("phone", 3);
  request.claims_unknown = true;
  EXPECT_EQ(attach(std::move(request)).resume, Resume::Reset);
  EXPECT_EQ(store_.epoch(), before);
  EXPECT_EQ(attach(device("laptop")).resume, Resume::Complete);
}

TEST_F(CursorKeeperTest, ACursorOfNoEpochWinsOverEveryToken) {
  send(3);
  AttachRequest request = with_token("phone", 3);
  request.inherited = DeviceCursor{};
  EXPECT_EQ(attach(std::move(request)).resume, Resume::Reset);
}

TEST_F(CursorKeeperTest, ADeviceIdleFor60DaysIsForgotten) {
  send(3);
  save("phone", 2);
  const AttachRequest old_token = with_token("phone", 2);
  clock_.advance(std::chrono::hours(24 * 60));
  EXPECT_EQ(attach(old_token).resume, Resume::Reset);
  EXPECT_EQ(attach(device("phone")).resume, Resume::Complete) << "the reset was written";
}

TEST_F(CursorKeeperTest, AnUnknownDeviceWithATokenIsReset) {
  send(3);
  AttachRequest request = device("phone");
  request.token_given = true;  // one that did not parse
  EXPECT_EQ(attach(std::move(request)).resume, Resume::Reset);
  EXPECT_EQ(rows(), 1U) << "it counts among the user's devices";
}

TEST_F(CursorKeeperTest, The33rdDeviceIsRefusedWhileAllAreConnectedAndUntilOneHasBeenIdleFor60Days) {
  std::vector<std::string> all;
  for (std::size_t i = 0; i < DeviceRules{}.max_devices; ++i) attach(device(all.emplace_back("d" + std::to_string(i))));
  const auto refused = try_attach(connected("one more", all));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code(), ErrorCode::DeviceLimit);
  EXPECT_EQ(rows(), DeviceRules{}.max_devices) << "who was refused has left nothing";
  attach(device("d3"));
  clock_.advance(std::chrono::hours(24 * 59));
  for (int i = 1; i < 32; ++i) save("d" + std::to_string(i), 0);
  clock_.advance(std::chrono::hours(24 * 2));
  all.erase(all.begin());
  EXPECT_TRUE(try_attach(connected("one more", all)).ok());
  EXPECT_EQ(known().size(), DeviceRules{}.max_devices);
}

// Somebody holds the user's turn and does not end: a worker stands still, a session's sends do not settle.
TEST_F(CursorKeeperTest, WhoWaitsForTheUsersTurnTooLongIsRefusedAndTheNextOneIsNot) {
  Worker worker(0, clock_);
  std::vector<Result<Attachment>> attached;
  const auto attach_there = [&](std::string_view name) {
    ASSERT_TRUE(worker.post([&, name] {
      spawn([](CursorKeeper& keeper, AttachRequest request, std::vector<Result<Attachment>>& out) -> Task<void> {
        out.push_back(co_await keeper.attach(std::move(request)));
      }(keeper_, device(name), attached));
    }));
    worker.poll();
  };
  {
    const auto held = turns_.take(UserId("bob"));
    attach_there("phone");
    clock_.advance(DeviceRules{}.patience - TimerWheel::kTick);
    worker.poll();
    EXPECT_TRUE(attached.empty());
    clock_.advance(2 * TimerWheel::kTick);
    worker.poll();
    ASSERT_EQ(attached.size(), 1U);
    EXPECT_EQ(attached[0].error().code(), ErrorCode::Timeout);
    EXPECT_EQ(worker.live_tasks(), 0U) << "nothing goes on waiting";
    attach_there("tablet");
  }
  worker.poll();
  ASSERT_EQ(attached.size(), 2U) << "the turn went past who had given up";
  EXPECT_TRUE(attached[1].ok());
  EXPECT_EQ(turns_.users(), 0U);
  EXPECT_EQ(known(), std::vector<std::string>{"tablet"});
}

TEST_F(CursorKeeperTest, AWorkerThatDoesNotForgetInTimeChangesNothing) {
  for (int i = 0; i < 32; ++i) save("d" + std::to_string(i), 0);
  AttachRequest request = connected("new", {});
  request.forget_unsaved = [](DeviceId) -> Task<Status> { co_return Error(ErrorCode::Timeout, "a worker stands still"); };
  const auto refused = try_attach(std::move(request));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code(), ErrorCode::Timeout);
  EXPECT_EQ(known().size(), 32U);
  EXPECT_EQ(rows(), 32U);
  EXPECT_EQ(turns_.users(), 0U);
}

TEST_F(CursorKeeperTest, TheDeviceUnseenLongestThatIsNotConnectedMakesRoomAndIsToldSo) {
  send(9);
  for (int i = 0; i < 32; ++i) {
    save("d" + std::to_string(i), 5);
    clock_.advance(std::chrono::minutes(1));
  }
  save("d1", 6);  // seen last of all
  std::vector<DeviceId> thrown_away;
  AttachRequest request = connected("new", {"d0"});
  request.forget_unsaved = [&](DeviceId each) -> Task<Status> {
    thrown_away.push_back(std::move(each));
    co_return Status();
  };
  const Attachment attached = attach(std::move(request));
  EXPECT_EQ(attached.forgotten, (std::vector<DeviceId>{DeviceId("d2")})) << "d0 is connected, d1 was seen since";
  EXPECT_EQ(thrown_away, attached.forgotten);
  EXPECT_EQ(known().size(), 32U);
  EXPECT_EQ(attach(device("d0")).resume, Resume::Complete);
  save("d0", 5);  // the end of its session

  // It comes back, with its cursor in a token that is good, or with nothing at all: the answer is the same.
  const Attachment back = attach(with_token("d2", 5));
  EXPECT_EQ(back.resume, Resume::Reset);
  EXPECT_EQ(back.forgotten, (std::vector<DeviceId>{DeviceId("d3")}));
  EXPECT_EQ(attach(device("d3")).resume, Resume::Reset);
  EXPECT_EQ(attach(device("d3")).resume, Resume::Complete) << "it is known again";
  EXPECT_EQ(known().size(), 32U);
}

TEST_F(CursorKeeperTest, AnEndThatIsNotStoredYetCountsForWhoWasSeenLast) {
  for (int i = 0; i < 32; ++i) save("d" + std::to_string(i), 0);
  clock_.advance(std::chrono::minutes(1));
  AttachRequest request = device("new");
  request.unsaved = [this] {
    std::map<DeviceId, DeviceCursor> out;
    for (int i = 0; i < 32; ++i) {
      if (i != 7) out[DeviceId("d" + std::to_string(i))] = {store_.epoch(), InboxPosition(0), {}, clock_.wall()};
    }
    return out;
  };
  EXPECT_EQ(attach(std::move(request)).forgotten, (std::vector<DeviceId>{DeviceId("d7")}));
}

TEST_F(CursorKeeperTest, AFreshTokenBringsAnUnknownDeviceOnlyIntoAPlace) {
  send(9);
  for (int i = 0; i < 32; ++i) save("d" + std::to_string(i), 0);
  const Attachment attached = attach(with_token("from before", 4));
  EXPECT_EQ(attached.cursor.position, InboxPosition(4)) << "what it has acked still says so";
  EXPECT_EQ(attached.forgotten.size(), 1U);
  EXPECT_EQ(known().size(), 32U);
}

TEST_F(CursorKeeperTest, RowsOfForgottenDevicesAreBoundedToo) {
  for (int i = 0; i < 200; ++i) {
    attach(device("d" + std::to_string(i)));
    clock_.advance(std::chrono::minutes(1));
  }
  EXPECT_EQ(known().size(), 32U);
  EXPECT_EQ(rows(), 64U);
  EXPECT_EQ(attach(device("d167")).resume, Resume::Reset) << "forgotten last";
  EXPECT_EQ(attach(device("d100")).resume, Resume::Complete) << "nothing is left of it: it is a new one";
}

TEST_F(CursorKeeperTest, AClockThatWasAheadForgetsNobodyForGood) {
  send(3);
  save("phone", 2);
  clock_.advance(std::chrono::hours(24 * 61));
  attach(device("laptop"));
  clock_.set_wall(clock_.wall() - std::chrono::hours(24 * 61));
  const Attachment back = attach(device("phone"));
  EXPECT_EQ(back.resume, Resume::Complete);
  EXPECT_EQ(back.cursor.position, InboxPosition(2));
}

TEST_F(CursorKeeperTest, ASessionThatWasReplacedHasSeenItsDeviceWhateverTheClockSays) {
  send(3);
  save("phone", 1);
  clock_.set_wall(clock_.wall() + std::chrono::hours(24 * 61));
  AttachRequest request = device("phone");
  request.inherited = DeviceCursor{store_.epoch(), InboxPosition(2), {}, {}};
  const Attachment attached = attach(std::move(request));
  EXPECT_EQ(attached.resume, Resume::Complete);
  EXPECT_EQ(attached.cursor.position, InboxPosition(2));
  EXPECT_TRUE(block_on(keeper_.save()).ok());
  EXPECT_EQ(known(), (std::vector<std::string>{"phone"}));
}

TEST_F(CursorKeeperTest, ASessionThatEndedWhileItWaitedTakesNoPlace) {
  AttachRequest request = device("phone");
  request.connected = [](const DeviceId&) { return false; };
  EXPECT_EQ(try_attach(std::move(request)).error().code(), ErrorCode::Cancelled);
  EXPECT_EQ(rows(), 0U);
}

TEST_F(CursorKeeperTest, NamesWhatRetentionHasTaken) {
  send(5);
  send(2, "carol");
  save("phone", 2);
  store_.trim_through(LogPosition(4));
  const Attachment behind = attach(device("phone"));
  EXPECT_EQ(behind.resume, Resume::Truncated);
  ASSERT_EQ(behind.truncated.size(), 1U);
  EXPECT_EQ(behind.truncated[0].conversation, private_conversation("alice", "bob"));
  EXPECT_EQ(behind.truncated[0].from_seq, MessageSeq(5));
  EXPECT_EQ(attach(with_token("phone", 4)).resume, Resume::Complete) << "nothing that was trimmed was missed";
}

TEST_F(CursorKeeperTest, ATrimBelowTheDeviceTakesNothingFromIt) {
  send(2);
  send(3, "carol");
  save("phone", 3);
  store_.trim_through(LogPosition(3));
  EXPECT_EQ(attach(device("phone")).resume, Resume::Complete);
  store_.trim_through(LogPosition(4));
  EXPECT_EQ(attach(device("phone")).resume, Resume::Truncated);
}

TEST_F(CursorKeeperTest, ASaveThatFailsIsTriedAgainAndTheNewestWins) {
  state_.set_failures(1);
  keeper_.keep({UserId("bob"), DeviceId("phone"), {store_.epoch(), InboxPosition(1), {}, clock_.wall()}});
  EXPECT_FALSE(block_on(keeper_.save()).ok());
  keeper_.keep({UserId("bob"), DeviceId("phone"), {store_.epoch(), InboxPosition(2), {}, clock_.wall()}});
  EXPECT_EQ(keeper_.kept(), 2U);
  state_.set_failures(0);
  EXPECT_EQ(*block_on(keeper_.save()), 2U);
  EXPECT_EQ(block_on(state_.devices(UserId("bob")))->front().cursor.position, InboxPosition(2));
}

TEST_F(CursorKeeperTest, WhatIsKeptIsBounded) {
  for (std::size_t i = 0; i < CursorKeeper::kMaxKept + 10; ++i) keeper_.keep({UserId("bob"), DeviceId("phone"), {}});
  EXPECT_LE(keeper_.kept(), CursorKeeper::kMaxKept);
}

}  // namespace
}  // namespace dunlin

// SessionDelivery, case by case, over the memory store (the simulation beside it mixes everything).
#include "messaging/delivery/session_delivery.h"

#include <gtest/gtest.h>

#include <array>
#include <map>
#include <string>
#include <vector>

#include "messaging/delivery/dispatcher.h"
#include "messaging/delivery/early_hints.h"
#include "messaging/model/conversation.h"
#include "runtime/spawn.h"
#include "storage/memory/memory_message_store.h"

namespace dunlin {
namespace {

class FakeSink final : public DeliverySink {
 public:
  explicit FakeSink(std::string_view user) : user_(user), key_(SessionKey::random()) {}
  Pushed push_message(const MessagePtr& message) override {
    if (room == 0) return Pushed::AtBound;
    --room;
    got.push_back(std::string(message->conversation()) + " " + std::to_string(message->seq().value()));
    return Pushed::Queued;
  }
  Pushed push_gap(const ConversationId& conversation, const SeqGap& gap) override {
    if (room == 0) return Pushed::AtBound;
    --room;
    got.push_back(conversation.str() + " gap " + std::to_string(gap.from.value()) + "-" + std::to_string(gap.to.value()));
    return Pushed::Queued;
  }
  const UserId& user() const override { return user_; }
  const SessionKey& key() const override { return key_; }

  std::size_t room = 1'000'000;
  std::vector<std::string> got;

 private:
  UserId user_;
  SessionKey key_;
};

class SessionDeliveryTest : public testing::Test {
 protected:
  // Keeps batches until the test delivers them.
  class HeldMailbox final : public WorkerMailbox {
   public:
    bool post(DeliveryBatch batch) override {
      for (AppendOutcome& ack : batch.acks) acks.push_back(std::move(ack));
      for (Hint& hint : batch.hints) hints.push_back(std::move(hint));
      return true;
    }
    std::vector<AppendOutcome> acks;
    std::vector<Hint> hints;
  };

  SessionDeliveryTest() {
    store_.set_listener(&dispatcher_);
    context_.options.max_flights = 3;
    context_.options.page_messages = 4;
    registry_.add("bob", "phone", kBob);
    bob_ = std::make_unique<SessionDelivery>(context_, sink_);
  }

  static MemoryStoreOptions options(const Clock& clock) {
    MemoryStoreOptions out;
    out.clock = &clock;
    return out;
  }
  void send(std::string_view from, std::string_view to, ConnectionRef connection = 0, std::string id = {}) {
    AppendRequest request;
    if (id.empty()) id = "id" + std::to_string(++sends_);
    request.message = Message::create({private_conversation(from, to).view(), from, id, {}, "{}"});
    request.reply = {connection, 0};
    store_.append({&request, 1});
  }
  void hints() {
    for (const AppendOutcome& sent : std::exchange(mailbox_.acks, {})) {
      if (sent.reply.connection == kBob) bob_->on_sent(sent.message->conversation(), sent.seq);
    }
    for (const Hint& hint : std::exchange(mailbox_.hints, {})) bob_->on_hint(hint);
  }
  void start(std::uint64_t position = 0) {
    DeviceCursor cursor;
    cursor.epoch = store_.epoch();
    cursor.position = InboxPosition(position);
    bob_->start(cursor);
  }
  static std::string line(std::string_view peer, std::string_view what) {
    return private_conversation("bob", peer).str() + " " + std::string(what);
  }
  std::vector<std::string> got() { return std::exchange(sink_.got, {}); }
  using Lines = std::vector<std::string>;
  bool ack(std::string_view peer, std::uint64_t seq) {
    return bob_->on_ack(private_conversation("bob", peer).view(), MessageSeq(seq)).raised;
  }

  static constexpr ConnectionRef kBob = 77;
  ManualClock clock_;
  ServerMetrics metrics_;
  SessionRegistry registry_;
  HeldMailbox mailbox_;
  Dispatcher dispatcher_{registry_, {&mailbox_}};
  MemoryMessageStore store_{options(clock_)};
  DeliveryContext context_{store_, store_, clock_, metrics_, {}};
  EarlyHints early_{EarlyHints::Options{}};  // of those who ask for it: context_.early
  FakeSink sink_{"bob"};
  std::unique_ptr<SessionDelivery> bob_;
  int sends_ = 0;
};

TEST_F(SessionDeliveryTest, PushesHintsInOrderWithoutReadingTheStore) {
  start();
  const std::uint64_t rows = store_.rows_read();
  send("alice", "bob");
  send("alice", "bob");
  send("carol", "bob");
  hints();
  EXPECT_EQ(got(), (Lines{line("alice", "1"), line("alice", "2"), line("carol", "1")}));
  EXPECT_EQ(store_.rows_read(), rows);
}

TEST_F(SessionDeliveryTest, RecalledMessagesComeAsGapsAlsoWhenPushedAgain) {
  for (int i = 0; i < 7; ++i) send("alice", "bob");
  mailbox_.hints.clear();
  const ConversationId conversation = private_conversation("bob", "alice");
  for (const std::uint64_t seq : {2, 3, 7}) ASSERT_TRUE(block_on(store_.recall(conversation, MessageSeq(seq))).ok());
  start();
  EXPECT_EQ(got(), (Lines{line("alice", "1"), line("alice", "gap 2-3"), line("alice", "4"), line("alice", "5"), line("alice", "6"),
                          line("alice", "gap 7-7")}));
  EXPECT_TRUE(ack("alice", 3)) << "a gap is acked like a message";
  // Recalled after it was pushed: what is sent again is read again.
  ASSERT_TRUE(block_on(store_.recall(conversation, MessageSeq(4))).ok());
  clock_.advance(context_.options.retransmit_after);
  bob_->on_heartbeat();
  EXPECT_EQ(got(), (Lines{line("alice", "gap 4-4"), line("alice", "5"), line("alice", "6"), line("alice", "gap 7-7")}));
  EXPECT_TRUE(ack("alice", 7));
  EXPECT_TRUE(bob_->caught_up());
}

TEST_F(SessionDeliveryTest, StartsWithoutReadingWhenNothingIsNew) {
  send("alice", "bob");
  hints();
  const std::uint64_t rows = store_.rows_read();
  start(1);
  EXPECT_TRUE(bob_->caught_up());
  EXPECT_TRUE(got().empty());
  EXPECT_EQ(store_.rows_read(), rows);
}

TEST_F(SessionDeliveryTest, StartsFromItsCursorAndExceptions) {
  for (int i = 0; i < 10; ++i) send("alice", "bob");
  for (int i = 0; i < 3; ++i) send("carol", "bob");
  mailbox_.hints.clear();
  DeviceCursor cursor;
  cursor.epoch = store_.epoch();
  cursor.position = InboxPosition(12);
  cursor.exceptions[private_conversation("alice", "bob")] = MessageSeq(8);
  bob_->start(cursor);
  EXPECT_EQ(got(), (Lines{line("alice", "9"), line("alice", "10"), line("carol", "3")}));
}

TEST_F(SessionDeliveryTest, WhatTheAppShowsNowComesFirstAndOnce) {
  for (const char* peer : {"alice", "carol", "dave"}) {
    for (int i = 0; i < 6; ++i) send(peer, "bob");
  }
  mailbox_.hints.clear();
  DeviceCursor cursor;
  cursor.epoch = store_.epoch();
  cursor.position = InboxPosition(14);  // dave's first two are acked
  bob_->start(cursor, {private_conversation("bob", "dave"), private_conversation("bob", "nobody")});
  EXPECT_EQ(got(), (Lines{line("dave", "3"), line("dave", "4"), line("dave", "5"), line("dave", "6")}));
  EXPECT_TRUE(bob_->caught_up());

  bob_ = std::make_unique<SessionDelivery>(context_, sink_);
  cursor.position = InboxPosition(3);
  bob_->start(cursor, {private_conversation("bob", "dave")});
  const Lines lines = got();
  ASSERT_EQ(lines.size(), 15U);
  EXPECT_EQ(lines.front(), line("dave", "1"));
  EXPECT_EQ(lines[5], line("dave", "6"));
  EXPECT_EQ(lines[6], line("alice", "4"));
  EXPECT_EQ(lines.back(), line("carol", "6"));
}

TEST_F(SessionDeliveryTest, ALostHintShowsInTheNextOne) {
  start();
  send("alice", "bob");
  send("carol", "bob");
  mailbox_.hints.clear();
  send("dave", "bob");
  hints();
  EXPECT_EQ(got(), (Lines{line("alice", "1"), line("carol", "1"), line("dave", "1")}));
  EXPECT_TRUE(bob_->caught_up());
}

TEST_F(SessionDeliveryTest, WhenEveryHintIsLostTheHeartbeatFindsOut) {
  start();
  send("alice", "bob");
  mailbox_.hints.clear();
  EXPECT_TRUE(got().empty());
  bob_->on_heartbeat();
  EXPECT_EQ(got(), (Lines{line("alice", "1")}));
}

TEST_F(SessionDeliveryTest, WhenTheWorkerLostHintsItComparesAtOnce) {
  start();
  send("alice", "bob");
  mailbox_.hints.clear();
  bob_->compare();
  EXPECT_EQ(got(), (Lines{line("alice", "1")}));
}

TEST_F(SessionDeliveryTest, AHintThatAScanHasOvertakenIsDropped) {
  start();
  send("alice", "bob");
  bob_->on_heartbeat();
  hints();
  EXPECT_EQ(got(), (Lines{line("alice", "1")}));
}

TEST_F(SessionDeliveryTest, HintsBeforeTheStartAreNotLost) {
  send("alice", "bob");
  hints();
  start();
  EXPECT_EQ(got(), (Lines{line("alice", "1")}));
}

TEST_F(SessionDeliveryTest, ItsOwnMessageAdvancesItUnsent) {
  start();
  send("alice", "bob");
  send("bob", "alice", kBob);
  send("alice", "bob");
  hints();
  EXPECT_EQ(got(), (Lines{line("alice", "1"), line("alice", "3")}));
  EXPECT_TRUE(ack("alice", 3));
  EXPECT_TRUE(bob_->cursor().exceptions.empty());
}

TEST_F(SessionDeliveryTest, AckingWhatWasSentAcksTheOwnMessagesBehindIt) {
  start();
  send("alice", "bob");
  send("bob", "alice", kBob);
  hints();
  EXPECT_TRUE(ack("alice", 1));
  EXPECT_TRUE(bob_->cursor().exceptions.empty());
}

TEST_F(SessionDeliveryTest, MessagesOfTheUsersOtherDeviceArePushed) {
  start();
  send("bob", "alice", 78);
  hints();
  EXPECT_EQ(got(), (Lines{line("alice", "1")}));
}

TEST_F(SessionDeliveryTest, AScanDoesNotRepeatWhatThisSessionSentUnderItsOwnName) {
  start();
  send("bob", "alice", kBob, sink_.key().text() + "-1");
  send("bob", "alice", kBob, SessionKey::random().text() + "-1");
  mailbox_.hints.clear();
  bob_->on_heartbeat();
  EXPECT_EQ(got(), (Lines{line("alice", "2")}));
}

TEST_F(SessionDeliveryTest, AcksAreCumulativeAndCountOnlyUpToWhatWasPushed) {
  start();
  for (int i = 0; i < 3; ++i) send("alice", "bob");
  hints();
  EXPECT_FALSE(ack("carol", 1));
  EXPECT_TRUE(ack("alice", 2));
  EXPECT_FALSE(ack("alice", 1));
  EXPECT_EQ(bob_->cursor().exceptions.begin()->second, MessageSeq(2));
  const auto effect = bob_->on_ack(private_conversation("alice", "bob").view(), MessageSeq(1000));
  EXPECT_EQ(effect.delivered, MessageSeq(3));
  EXPECT_TRUE(bob_->cursor().exceptions.empty());
}

TEST_F(SessionDeliveryTest, AFullWriteQueueMakesItReadOnFromTheStoreWhenDrained) {
  start();
  sink_.room = 2;
  for (int i = 0; i < 20; ++i) send("alice", "bob");
  hints();
  EXPECT_EQ(got().size(), 2U);
  EXPECT_TRUE(bob_->lagging());
  EXPECT_EQ(metrics_.lagging_sessions.value(), 1);
  send("carol", "bob");
  hints();
  EXPECT_TRUE(got().empty()) << "hints only raise the target";
  sink_.room = 5;
  bob_->on_drained();
  EXPECT_EQ(got().front(), line("alice", "3"));
  EXPECT_TRUE(bob_->lagging());
  sink_.room = 100;
  bob_->on_drained();
  EXPECT_EQ(got().back(), line("carol", "1"));
  EXPECT_FALSE(bob_->lagging());
  EXPECT_EQ(metrics_.lagging_sessions.value(), 0);
}

TEST_F(SessionDeliveryTest, ASlowReaderThatAcksAsItGoesGetsEverythingOnce) {
  start();
  sink_.room = 0;
  for (int i = 0; i < 50; ++i) send("alice", "bob");
  hints();
  Lines all;
  for (int guard = 0; guard < 100 && all.size() < 50; ++guard) {
    sink_.room = 3;
    bob_->on_drained();
    for (std::string& each : got()) all.push_back(std::move(each));
    ack("alice", all.size());
  }
  ASSERT_EQ(all.size(), 50U);
  for (std::size_t i = 0; i < all.size(); ++i) EXPECT_EQ(all[i], line("alice", std::to_string(i + 1)));
  EXPECT_TRUE(bob_->caught_up());
}

TEST_F(SessionDeliveryTest, IsTooSlowWhenItsQueueStaysFull) {
  start();
  sink_.room = 1;
  send("alice", "bob");
  send("alice", "bob");
  hints();
  clock_.advance(Milliseconds(59'999));
  EXPECT_FALSE(bob_->too_slow());
  clock_.advance(Milliseconds(1));
  EXPECT_TRUE(bob_->too_slow());
  sink_.room = 1;
  bob_->on_drained();
  EXPECT_FALSE(bob_->too_slow());
}

TEST_F(SessionDeliveryTest, BeyondItsBoundOfConversationsItWaitsForAcks) {
  start();
  for (const char* peer : {"p1", "p2", "p3", "p4", "p5"}) send(peer, "bob");
  hints();
  EXPECT_EQ(got().size(), 3U);
  EXPECT_TRUE(ack("p2", 1));
  EXPECT_EQ(got(), (Lines{line("p4", "1")}));
  EXPECT_TRUE(ack("p1", 1));
  EXPECT_EQ(got(), (Lines{line("p5", "1")}));
  EXPECT_TRUE(bob_->caught_up());
}

TEST_F(SessionDeliveryTest, AScanThatWaitedForAcksMissesNothingOfWhatInterleaves) {
  for (const char* peer : {"p1", "p2", "p3", "p4", "p5", "p4", "p5"}) send(peer, "bob");
  mailbox_.hints.clear();
  start();
  EXPECT_EQ(got(), (Lines{line("p1", "1"), line("p2", "1"), line("p3", "1")}));
  EXPECT_TRUE(ack("p1", 1));
  EXPECT_EQ(got(), (Lines{line("p4", "1"), line("p4", "2")}));
  EXPECT_TRUE(ack("p2", 1));
  EXPECT_EQ(got(), (Lines{line("p5", "1"), line("p5", "2")}));
  for (const auto& [peer, seq] : std::vector<std::pair<const char*, std::uint64_t>>{{"p3", 1}, {"p5", 2}, {"p4", 2}})
    EXPECT_TRUE(ack(peer, seq));
  EXPECT_TRUE(bob_->caught_up());
  EXPECT_TRUE(bob_->cursor().exceptions.empty());
  EXPECT_TRUE(got().empty());
}

// With the shipped bounds, far beyond them, and a client that acks each push, a few late, or all once in a while.
TEST_F(SessionDeliveryTest, AThousandWaitingConversationsComeWholeAndOnceWhateverTheAcks) {
  context_.options = DeliveryOptions();
  constexpr int kPeers = 1000;
  constexpr std::uint64_t kEach = 3;
  for (std::uint64_t round = 0; round < kEach; ++round) {
    for (int i = 0; i < kPeers; ++i) send("p" + std::to_string(i), "bob");
  }
  mailbox_.hints.clear();
  for (const std::size_t late : {1, 7, 500}) {
    FakeSink sink("bob");
    SessionDelivery delivery(context_, sink);
    DeviceCursor cursor;
    cursor.epoch = store_.epoch();
    delivery.start(cursor);
    std::map<std::string, std::uint64_t> have;
    std::size_t seen = 0;
    for (int guard = 0; guard < 10'000 && !delivery.caught_up(); ++guard) {
      for (; seen < sink.got.size() && seen % late != late - 1; ++seen) {
        const std::size_t space = sink.got[seen].find(' ');
        EXPECT_EQ(std::stoull(sink.got[seen].substr(space + 1)), ++have[sink.got[seen].substr(0, space)]) << sink.got[seen];
      }
      if (seen < sink.got.size()) {
        const std::size_t space = sink.got[seen].find(' ');
        EXPECT_EQ(std::stoull(sink.got[seen].substr(space + 1)), ++have[sink.got[seen].substr(0, space)]) << sink.got[seen];
        ++seen;
      }
      for (const auto& [conversation, seq] : have) delivery.on_ack(conversation, MessageSeq(seq));
    }
    EXPECT_TRUE(delivery.caught_up()) << late;
    EXPECT_EQ(sink.got.size(), kPeers * kEach) << "each once, acks " << late << " late";
  }
  EXPECT_GT(metrics_.delivery_waits_acks.value(), 0U) << "the bound was not reached";
}

TEST_F(SessionDeliveryTest, WhoAcksLateIsNotSlow) {
  start();
  for (const char* peer : {"p1", "p2", "p3", "p4", "p5"}) send(peer, "bob");
  hints();
  EXPECT_TRUE(bob_->lagging());
  clock_.advance(std::chrono::hours(1));
  EXPECT_FALSE(bob_->too_slow());
  got();
  bob_->on_heartbeat();
  EXPECT_EQ(got().size(), 3U) << "what is not acked comes again";
}

TEST_F(SessionDeliveryTest, AtTheBoundOfConversationsAFewAcksAreTakenUpAtTheHeartbeat) {
  context_.options.max_flights = 16;
  start();
  for (int i = 0; i < 20; ++i) send("p" + std::to_string(i), "bob");
  hints();
  EXPECT_EQ(got().size(), 16U);
  EXPECT_TRUE(ack("p0", 1));
  EXPECT_TRUE(got().empty()) << "a page is not read for each ack";
  bob_->on_heartbeat();
  EXPECT_EQ(got(), (Lines{line("p16", "1")}));
  EXPECT_TRUE(ack("p1", 1));
  EXPECT_TRUE(ack("p2", 1));
  EXPECT_EQ(got(), (Lines{line("p17", "1"), line("p18", "1")}));
}

TEST_F(SessionDeliveryTest, AHeartbeatRepeatsNoOwnMessagesWhateverTheirIds) {
  start();
  send("alice", "bob");
  hints();
  for (int i = 0; i < 300; ++i) {
    send("bob", "alice", kBob);
    if (i % 3 == 0) send("alice", "bob");
  }
  hints();
  const std::size_t pushed = got().size();
  EXPECT_EQ(pushed, 101U);
  clock_.advance(context_.options.retransmit_after);
  bob_->on_heartbeat();
  EXPECT_EQ(got().size(), pushed);
  EXPECT_TRUE(ack("alice", 401));
  EXPECT_TRUE(bob_->cursor().exceptions.empty());
}

TEST_F(SessionDeliveryTest, AScanRepeatsNoOwnMessagesWhateverTheirIds) {
  start();
  sink_.room = 2;
  for (int i = 0; i < 4; ++i) {
    send("alice", "bob");
    send("bob", "alice", kBob);
  }
  hints();
  sink_.room = 100;
  bob_->on_drained();
  EXPECT_EQ(got(), (Lines{line("alice", "1"), line("alice", "3"), line("alice", "5"), line("alice", "7")}));
}

TEST_F(SessionDeliveryTest, AnOwnMessageThatWasPushedBeforeItsAnswerCameIsRepeatedUntilItIsAcked) {
  start();
  send("bob", "alice", kBob);
  bob_->on_heartbeat();
  EXPECT_EQ(got(), (Lines{line("alice", "1")})) << "the store does not tell whose it is";
  hints();
  EXPECT_TRUE(got().empty());
  clock_.advance(context_.options.retransmit_after);
  bob_->on_heartbeat();
  EXPECT_EQ(got(), (Lines{line("alice", "1")})) << "else nothing asks for the ack that was lost";
  EXPECT_TRUE(ack("alice", 1));
  EXPECT_TRUE(bob_->cursor().exceptions.empty());
}

TEST_F(SessionDeliveryTest, AnOwnMessageThatAScanWasFasterWithIsRepeatedAlsoIfTheHintFindsItScanning) {
  start();
  for (int i = 0; i < 3; ++i) send("bob", "alice", kBob);
  sink_.room = 2;
  bob_->on_heartbeat();
  EXPECT_EQ(got(), (Lines{line("alice", "1"), line("alice", "2")}));
  hints();
  sink_.room = 100;
  bob_->on_drained();
  EXPECT_TRUE(got().empty()) << "the answer has told that 3 is its own";
  EXPECT_TRUE(ack("alice", 1));
  clock_.advance(context_.options.retransmit_after);
  bob_->on_heartbeat();
  EXPECT_EQ(got(), (Lines{line("alice", "2")})) << "what was pushed, and no more";
  EXPECT_TRUE(ack("alice", 2));
  EXPECT_TRUE(bob_->cursor().exceptions.empty());
}

TEST_F(SessionDeliveryTest, UnackedPushesAreRepeatedOnHeartbeatsWithADoublingPause) {
  start();
  send("alice", "bob");
  send("alice", "bob");
  hints();
  got();
  std::vector<int> repeats;
  for (int second = 1; second <= 40; ++second) {
    clock_.advance(Milliseconds(1000));
    bob_->on_heartbeat();
    if (got().size() == 2) repeats.push_back(second);
  }
  EXPECT_EQ(repeats, (std::vector<int>{5, 15, 35}));
  EXPECT_EQ(metrics_.retransmissions_total.value(), 6U);
  ack("alice", 1);
  clock_.advance(Milliseconds(4999));
  bob_->on_heartbeat();
  EXPECT_TRUE(got().empty());
  clock_.advance(Milliseconds(1));
  bob_->on_heartbeat();
  EXPECT_EQ(got(), (Lines{line("alice", "2")})) << "an ack restarts the pause; only what is unacked is repeated";
}

TEST_F(SessionDeliveryTest, WhatRetentionHasTakenComesAsAGap) {
  for (int i = 0; i < 6; ++i) send("alice", "bob");
  send("carol", "bob");
  mailbox_.hints.clear();
  store_.trim_through(LogPosition(4));
  start(2);
  EXPECT_EQ(got(), (Lines{line("alice", "gap 1-4"), line("alice", "5"), line("alice", "6"), line("carol", "1")}))
      << "where the device was in the trimmed part is not known, so the gap begins low";
  EXPECT_TRUE(ack("alice", 6));
  EXPECT_TRUE(ack("carol", 1));
  EXPECT_TRUE(bob_->cursor().exceptions.empty());
}

TEST_F(SessionDeliveryTest, AnAckedGapIsBehindTheSyncTokenWhileWhatFollowsItIsNotAcked) {
  for (int i = 0; i < 6; ++i) send("alice", "bob");
  mailbox_.hints.clear();
  store_.trim_through(LogPosition(4));
  start(2);
  EXPECT_EQ(got(), (Lines{line("alice", "gap 1-4"), line("alice", "5"), line("alice", "6")}));
  EXPECT_EQ(bob_->token_position(), InboxPosition(2)) << "the gap is not acked";
  ack("alice", 3);
  EXPECT_EQ(bob_->token_position(), InboxPosition(2)) << "not all of the gap is acked";
  ack("alice", 4);
  EXPECT_EQ(bob_->token_position(), InboxPosition(4)) << "else a connect with this token would tell of the gap again";
  ack("alice", 5);
  EXPECT_EQ(bob_->token_position(), InboxPosition(4)) << "known by marks alone";
  ack("alice", 6);
  EXPECT_EQ(bob_->token_position(), InboxPosition(6));
}

TEST_F(SessionDeliveryTest, AnOpenConversationComesFirstAmongThoseThatWereCutOffInTheMiddle) {
  send("alice", "bob");
  send("carol", "bob");
  send("carol", "bob");
  mailbox_.hints.clear();
  DeviceCursor cursor;
  cursor.epoch = store_.epoch();
  cursor.position = InboxPosition(3);
  cursor.exceptions.emplace(private_conversation("bob", "alice"), MessageSeq(0));
  cursor.exceptions.emplace(private_conversation("bob", "carol"), MessageSeq(1));
  bob_->start(cursor, {private_conversation("bob", "alice")});
  EXPECT_EQ(got(), (Lines{line("alice", "1"), line("carol", "2")}));
}

TEST_F(SessionDeliveryTest, AConversationOfWhichNothingWasMissedHasNoGap) {
  for (int i = 0; i < 3; ++i) send("alice", "bob");
  for (int i = 0; i < 3; ++i) send("carol", "bob");
  send("alice", "bob");
  mailbox_.hints.clear();
  store_.trim_through(LogPosition(5));
  start(4);
  EXPECT_EQ(got(), (Lines{line("carol", "gap 1-2"), line("carol", "3"), line("alice", "4")}));
}

TEST_F(SessionDeliveryTest, TheTokenFollowsTheAcksOfAConversationThatIsAlwaysInFlight) {
  start();
  InboxPosition last;
  for (std::uint64_t i = 1; i <= 100; ++i) {
    send("alice", "bob");
    hints();
    if (i > 4) ack("alice", i - 4);  // four stay in flight
    const InboxPosition token = bob_->token_position().value_or(InboxPosition(0));
    EXPECT_GE(token, last);
    EXPECT_LE(token.value(), i > 4 ? i - 4 : 0);
    last = token;
  }
  EXPECT_GE(last.value(), 88U);
}

TEST_F(SessionDeliveryTest, ATokenClaimsNothingUnackedOfAConversationThatAPageNamesTwice) {
  for (int i = 0; i < 3; ++i) send("alice", "bob");
  for (int i = 0; i < 20; ++i) send("carol", "bob");
  for (int i = 0; i < 2; ++i) send("alice", "bob");
  mailbox_.hints.clear();
  sink_.room = 3;
  start();
  EXPECT_EQ(got(), (Lines{line("alice", "1"), line("alice", "2"), line("alice", "3")}));
  EXPECT_TRUE(ack("alice", 3));
  sink_.room = 1'000;
  bob_->on_drained();
  EXPECT_EQ(got().size(), 22U);
  EXPECT_TRUE(ack("carol", 20));
  EXPECT_LE(bob_->token_position().value_or(InboxPosition(0)), InboxPosition(23)) << "alice's last two are not acked";
  EXPECT_TRUE(ack("alice", 5));
  EXPECT_EQ(bob_->token_position(), InboxPosition(25));
}

TEST_F(SessionDeliveryTest, AnIdleSessionsPositionFollowsTheStore) {
  start();
  for (int i = 0; i < 10; ++i) send("alice", "carol");
  EXPECT_FALSE(bob_->changed());
  EXPECT_EQ(bob_->cursor().position, InboxPosition(10));
}

TEST_F(SessionDeliveryTest, AnIdleSessionIsSavedOnceADay) {
  start();
  send("alice", "carol");
  bob_->on_heartbeat();
  EXPECT_FALSE(bob_->changed());
  clock_.advance(std::chrono::hours(24));
  send("alice", "carol");
  bob_->on_heartbeat();
  EXPECT_TRUE(bob_->changed());
  bob_->cursor();
  EXPECT_FALSE(bob_->changed());
}

TEST_F(SessionDeliveryTest, AfterItLeftTheRegistryItsPositionStaysWhereItIs) {
  start();
  registry_.remove("bob", kBob);
  send("alice", "bob");
  EXPECT_EQ(bob_->cursor().position, InboxPosition(0));
  registry_.add("bob", "phone", kBob + 1);
  EXPECT_EQ(bob_->cursor().position, InboxPosition(0)) << "a newer session of the user must not make it look up to date";
}

TEST_F(SessionDeliveryTest, AScanThatOutlivesItsSessionEnds) {
  MemoryStoreOptions slow = options(clock_);
  slow.read_delay = Milliseconds(100);
  MemoryMessageStore store(slow);
  DeliveryContext context{store, store, clock_, metrics_, {}};
  store.set_listener(&dispatcher_);
  AppendRequest request;
  request.message = Message::create({private_conversation("alice", "bob").view(), "alice", "x", {}, "{}"});
  store.append({&request, 1});
  auto delivery = std::make_unique<SessionDelivery>(context, sink_);
  delivery->start({store.epoch(), InboxPosition(0), {}, {}});
  ASSERT_TRUE(store.next_due());
  delivery.reset();
  clock_.advance(Milliseconds(100));
  while (store.pump()) {
  }
  EXPECT_TRUE(got().empty());
}

TEST_F(SessionDeliveryTest, GoesOnAfterTheStoreFailed) {
  send("alice", "bob");
  mailbox_.hints.clear();
  store_.set_read_failures(1);
  start();
  EXPECT_FALSE(bob_->caught_up());
  bob_->on_heartbeat();
  EXPECT_FALSE(bob_->caught_up());
  store_.set_read_failures(0);
  clock_.advance(Milliseconds(2000));
  send("alice", "bob");
  hints();
  EXPECT_EQ(got(), (Lines{line("alice", "1"), line("alice", "2")})) << "the next hint tries again";
  EXPECT_TRUE(bob_->caught_up());
}

TEST_F(SessionDeliveryTest, AnIdleSessionIsSmall) {
  EXPECT_LE(sizeof(SessionDelivery), 100U);
}

// A read replica that lags behind what the inbox names, say.
TEST_F(SessionDeliveryTest, ARangeThatEndsBelowWhatTheInboxNamesIsReadAgain) {
  class LaggingStore final : public MemoryMessageStore {
   public:
    using MemoryMessageStore::MemoryMessageStore;
    Task<Result<NewsPage>> news_since(NewsQuery query) override {
      if (lags) query.max_messages = 0;
      return MemoryMessageStore::news_since(std::move(query));
    }
    std::optional<RangePage> range_in_memory(const RangeQuery&) override { return std::nullopt; }
    Task<Result<std::vector<RangePage>>> ranges(std::vector<RangeQuery> queries) override {
      auto pages = co_await MemoryMessageStore::ranges(std::move(queries));
      if (lags && pages.ok() && !pages->front().messages.empty()) pages->front().messages.pop_back();
      co_return pages;
    }
    bool lags = true;
  };
  LaggingStore store(options(clock_));
  DeliveryContext context{store, store, clock_, metrics_, {}};
  for (const char* id : {"m1", "m2", "m3"}) {
    AppendRequest request;
    request.message = Message::create({private_conversation("alice", "bob").view(), "alice", id, {}, "{}"});
    store.append({&request, 1});
  }
  SessionDelivery bob(context, sink_);
  bob.start({});
  EXPECT_EQ(got(), (Lines{line("alice", "1"), line("alice", "2")}));
  EXPECT_FALSE(bob.caught_up());
  EXPECT_TRUE(bob.on_ack(private_conversation("alice", "bob").view(), MessageSeq(2)).raised);
  EXPECT_EQ(bob.cursor().position, InboxPosition(0)) << "nothing is claimed of what was not pushed";
  store.lags = false;
  clock_.advance(Milliseconds(1000));
  bob.on_heartbeat();
  EXPECT_EQ(got(), (Lines{line("alice", "3")}));
  EXPECT_TRUE(bob.caught_up());
}

// The sender was told `unknown`, so the store tells the record without him. Pushed, it would wait for an ack, and what is pushed again
// leaves it out.
TEST_F(SessionDeliveryTest, AnOwnMessageThatIsToldWithoutItsSenderIsNotPushed) {
  start();
  send("alice", "bob");
  hints();
  EXPECT_EQ(got(), (Lines{line("alice", "1")}));
  send("bob", "alice", 0, sink_.key().text() + "-1");
  hints();
  EXPECT_TRUE(got().empty());
  EXPECT_TRUE(ack("alice", 1));
  EXPECT_TRUE(bob_->cursor().exceptions.empty());
}

// -- hints from several sources

TEST_F(SessionDeliveryTest, RangesThatOvertakeEachOtherAreDeliveredInOrderWithoutARead) {
  context_.early = &early_;
  start();
  const std::uint64_t rows = store_.rows_read();
  for (const char* peer : {"alice", "carol", "dave", "alice"}) send(peer, "bob");
  std::vector<Hint> hints = std::exchange(mailbox_.hints, {});
  ASSERT_EQ(hints.size(), 4U);
  context_.options.max_flights = 8;
  for (const std::size_t i : {3, 2, 0}) bob_->on_hint(hints[i]);
  EXPECT_EQ(got(), (Lines{line("alice", "1")}));
  bob_->on_hint(hints[1]);
  EXPECT_EQ(got(), (Lines{line("carol", "1"), line("dave", "1"), line("alice", "2")}));
  EXPECT_TRUE(early_.empty());
  for (const Hint& hint : hints) bob_->on_hint(hint);  // and once more
  EXPECT_TRUE(got().empty());
  EXPECT_TRUE(early_.empty());
  EXPECT_EQ(early_.bytes(), 0U);
  EXPECT_EQ(store_.rows_read(), rows);
}

// Two nodes have stored 1 and 2; the one that stored 2 has noted both.
TEST_F(SessionDeliveryTest, ARangeTakesTheRecordsThatItLacksFromThoseThatWait) {
  for (const bool record_first : {true, false}) {
    bob_ = std::make_unique<SessionDelivery>(context_, sink_);
    context_.early = &early_;
    const ConversationId conversation = private_conversation("alice", "bob");
    const std::uint64_t before = block_on(store_.head(conversation))->last_seq.value();
    start(before);
    const std::uint64_t rows = store_.rows_read();
    send("alice", "bob");
    send("alice", "bob");
    std::vector<Hint> hints = std::exchange(mailbox_.hints, {});
    Hint record = hints[0];
    record.has_range = false;
    record.at = hints[1].at;
    Hint range = hints[1];
    range.previous = hints[0].previous;
    range.first_seq = hints[0].first_seq;
    bob_->on_hint(record_first ? record : range);
    EXPECT_TRUE(got().empty());
    bob_->on_hint(record_first ? range : record);
    EXPECT_EQ(got(), (Lines{line("alice", std::to_string(before + 1)), line("alice", std::to_string(before + 2))}));
    EXPECT_TRUE(early_.empty());
    // Repeated when all of it is acked.
    EXPECT_TRUE(ack("alice", before + 2));
    bob_->on_hint(record);
    EXPECT_TRUE(early_.empty());
    EXPECT_TRUE(bob_->caught_up());
    EXPECT_EQ(store_.rows_read(), rows);
  }
}

TEST_F(SessionDeliveryTest, WhatIsMissingForTooLongIsReadAndNothingSooner) {
  context_.early = &early_;
  start();
  for (const char* peer : {"alice", "carol", "alice", "carol"}) send(peer, "bob");
  std::vector<Hint> hints = std::exchange(mailbox_.hints, {});
  const auto overdue = [&] { return early_.overdue(context_.now_ms()).size(); };
  bob_->on_hint(hints[1]);
  clock_.advance(Milliseconds(40));
  bob_->on_hint(hints[3]);  // and waits from now on
  bob_->on_hint(hints[0]);
  EXPECT_EQ(got(), (Lines{line("alice", "1"), line("carol", "1")}));
  clock_.advance(Milliseconds(49));
  EXPECT_EQ(overdue(), 0U) << "what has waited for longer was delivered";
  clock_.advance(Milliseconds(1));
  ASSERT_EQ(overdue(), 1U);
  bob_->on_overdue();
  EXPECT_EQ(got(), (Lines{line("alice", "2"), line("carol", "2")}));
  EXPECT_TRUE(early_.empty());
  EXPECT_TRUE(bob_->caught_up());
}

TEST_F(SessionDeliveryTest, WithoutRoomItReadsAtOnce) {
  std::uint64_t before = 0;
  for (const EarlyHints::Options& bound : {EarlyHints::Options{.session_bytes = 10}, EarlyHints::Options{.bytes = 10}}) {
    EarlyHints small(bound);
    context_.early = &small;
    bob_ = std::make_unique<SessionDelivery>(context_, sink_);
    start(2 * before);
    send("alice", "bob");
    send("carol", "bob");
    ++before;
    std::vector<Hint> hints = std::exchange(mailbox_.hints, {});
    bob_->on_hint(hints[1]);
    EXPECT_EQ(got(), (Lines{line("alice", std::to_string(before)), line("carol", std::to_string(before))}));
    EXPECT_TRUE(small.empty());
    bob_.reset();
  }
}

TEST_F(SessionDeliveryTest, WhatWaitsForASessionGoesWithIt) {
  context_.early = &early_;
  start();
  send("alice", "bob");
  send("carol", "bob");
  bob_->on_hint(mailbox_.hints[1]);
  EXPECT_GT(early_.bytes(), 0U);
  bob_.reset();
  EXPECT_TRUE(early_.empty());
  EXPECT_EQ(early_.bytes(), 0U);
}

TEST_F(SessionDeliveryTest, AnOwnMessageThatCameEarlyIsNotEchoed) {
  context_.early = &early_;
  start();
  send("alice", "bob");
  send("bob", "carol", kBob);
  std::vector<Hint> hints = std::exchange(mailbox_.hints, {});
  bob_->on_hint(hints[1]);
  clock_.advance(Milliseconds(50));
  bob_->on_overdue();
  EXPECT_EQ(got(), (Lines{line("alice", "1")})) << "read from the store, where it is like any other";
}

}  // namespace
}  // namespace dunlin

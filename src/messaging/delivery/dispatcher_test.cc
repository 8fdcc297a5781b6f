#include "messaging/delivery/dispatcher.h"

#include <gtest/gtest.h>

#include <string>

#include "messaging/delivery/receipts.h"
#include "messaging/model/conversation.h"
#include "messaging/ports/one_order.h"

namespace dunlin {
namespace {

constexpr ConnectionRef on_worker(std::uint64_t worker, std::uint64_t number) {
  return worker << 54 | number;
}

class CollectingMailbox final : public WorkerMailbox {
 public:
  bool post(DeliveryBatch batch) override {
    ++posts;
    for (AppendOutcome& ack : batch.acks) acks.push_back(std::move(ack));
    for (Hint& hint : batch.hints) hints.push_back(std::move(hint));
    for (SignalPush& signal : batch.signals) signals.push_back(std::move(signal));
    return true;
  }
  int posts = 0;
  std::vector<AppendOutcome> acks;
  std::vector<Hint> hints;
  std::vector<SignalPush> signals;
};

class DispatcherTest : public testing::Test {
 protected:
  AppendOutcome stored(std::string_view from, std::string_view to, ConnectionRef sender) {
    AppendOutcome out;
    out.message = Message::create({private_conversation(from, to).view(), from, "id", {}, "{}"});
    MessagePlace place;
    place.position = LogPosition(++position_);
    place.seq = MessageSeq(position_);
    out.message->set_place(place);
    out.seq = place.seq;
    out.reply = {sender, 7};
    return out;
  }
  void tell(std::vector<AppendOutcome> outcomes) {
    BatchNews news;
    const std::span<const InboxNews> told = news.take(outcomes);
    dispatcher_.on_answers(outcomes);
    dispatcher_.on_records(told);
  }
  const ReceiptSignal& receipt(const SignalPush& push) { return std::get<ReceiptSignal>(*push.signal); }

  SessionRegistry registry_;
  CollectingMailbox mailboxes_[2];
  Dispatcher dispatcher_{registry_, {&mailboxes_[0], &mailboxes_[1]}};
  std::uint64_t position_ = 0;
  const ConnectionRef alice_ = on_worker(0, 1);
  const ConnectionRef alice_laptop_ = on_worker(1, 2);
  const ConnectionRef bob_ = on_worker(1, 3);
};

TEST_F(DispatcherTest, TellsTheSenderAndEverySessionOfBothUsersInOnePostAWorkerAndCall) {
  registry_.add("alice", "phone", alice_);
  registry_.add("alice", "laptop", alice_laptop_);
  registry_.add("bob", "phone", bob_);
  std::vector<AppendOutcome> outcomes;
  outcomes.push_back(stored("alice", "bob", alice_));
  outcomes.push_back(stored("alice", "bob", alice_));
  tell(std::move(outcomes));
  EXPECT_EQ(mailboxes_[0].posts, 2) << "answers, and hints";
  EXPECT_EQ(mailboxes_[1].posts, 1);
  ASSERT_EQ(mailboxes_[0].acks.size(), 2U);
  EXPECT_EQ(mailboxes_[0].acks[0].reply.request, 7U);
  EXPECT_TRUE(mailboxes_[1].acks.empty());
  ASSERT_EQ(mailboxes_[0].hints.size(), 2U);
  ASSERT_EQ(mailboxes_[1].hints.size(), 4U);
  EXPECT_TRUE(mailboxes_[0].hints[0].own);
  EXPECT_FALSE(mailboxes_[1].hints[0].own) << "the sender's other device gets it";
  EXPECT_LT(mailboxes_[1].hints[0].at, mailboxes_[1].hints[2].at);
}

TEST_F(DispatcherTest, EachHintCarriesWhatWasToldBeforeIt) {
  registry_.add("bob", "phone", bob_);
  for (int i = 0; i < 3; ++i) {
    std::vector<AppendOutcome> one;
    one.push_back(stored("alice", i == 1 ? "carol" : "bob", alice_));
    tell(std::move(one));
  }
  ASSERT_EQ(mailboxes_[1].hints.size(), 2U);
  EXPECT_EQ(mailboxes_[1].hints[0].previous, InboxPosition(0));
  EXPECT_EQ(mailboxes_[1].hints[1].previous, InboxPosition(1)) << "carol's message is none of bob's";
}

TEST_F(DispatcherTest, AMessageToOneselfIsHintedOnce) {
  registry_.add("alice", "phone", alice_);
  std::vector<AppendOutcome> one;
  one.push_back(stored("alice", "alice", alice_));
  tell(std::move(one));
  EXPECT_EQ(mailboxes_[0].hints.size(), 1U);
}

TEST_F(DispatcherTest, RefusalsAndDuplicatesAreAnsweredButHintNobody) {
  registry_.add("bob", "phone", bob_);
  std::vector<AppendOutcome> outcomes;
  outcomes.push_back(stored("alice", "bob", alice_));
  outcomes.back().refused = ErrorCode::StoreUnavailable;
  outcomes.push_back(stored("alice", "bob", alice_));
  outcomes.back().duplicate = true;
  tell(std::move(outcomes));
  EXPECT_EQ(mailboxes_[0].acks.size(), 2U);
  EXPECT_TRUE(mailboxes_[1].hints.empty());
}

TEST_F(DispatcherTest, TheFaultSwitchDropsHintsButNotAcksAndActivityGoesOn) {
  registry_.add("bob", "phone", bob_);
  dispatcher_.drop_hints(true);
  std::vector<AppendOutcome> one;
  one.push_back(stored("alice", "bob", alice_));
  tell(std::move(one));
  EXPECT_EQ(mailboxes_[0].acks.size(), 1U);
  EXPECT_TRUE(mailboxes_[1].hints.empty());
  EXPECT_EQ(registry_.told("bob"), InboxPosition(1));
}

TEST_F(DispatcherTest, ARangeComesWithItsLastRecordAndTheOthersBeforeIt) {
  registry_.add("bob", "phone", bob_);
  const auto first = stored("alice", "bob", alice_);
  const auto last = stored("alice", "bob", alice_);
  const std::vector<ToldRecord> records{{first.message, alice_}, {last.message, 0}};
  const InboxNews range{"bob", records, true, InboxPosition(40), InboxPosition(30), MessageSeq(1), MessageSeq(2)};
  dispatcher_.on_records({&range, 1});
  const auto& hints = mailboxes_[1].hints;
  ASSERT_EQ(hints.size(), 2U);
  EXPECT_FALSE(hints[0].has_range);
  EXPECT_EQ(hints[0].message->seq(), MessageSeq(1));
  EXPECT_TRUE(hints[1].has_range);
  EXPECT_EQ(hints[1].message->seq(), MessageSeq(2));
  EXPECT_EQ(hints[1].at, InboxPosition(40));
  EXPECT_EQ(hints[1].previous, InboxPosition(30)) << "as the store says, whatever was told here";
  EXPECT_EQ(hints[1].first_seq, MessageSeq(1));
  EXPECT_EQ(registry_.told("bob"), InboxPosition(40));
}

TEST_F(DispatcherTest, WhatSomebodyElseNotesIsTheRecordAlone) {
  registry_.add("bob", "phone", bob_);
  const auto one = stored("alice", "bob", alice_);
  const ToldRecord record{one.message, 0};
  InboxNews news{"bob", {&record, 1}, false, {}, {}, {}, {}};
  dispatcher_.on_records({&news, 1});
  ASSERT_EQ(mailboxes_[1].hints.size(), 1U);
  EXPECT_FALSE(mailboxes_[1].hints[0].has_range);
  EXPECT_EQ(registry_.told("bob"), InboxPosition(0)) << "nothing was told of his inbox";
}

TEST_F(DispatcherTest, APositionWithoutRecordsIsToldBare) {
  registry_.add("bob", "phone", bob_);
  const InboxNews news{"bob", {}, true, InboxPosition(40), InboxPosition(0), {}, {}};
  dispatcher_.on_records({&news, 1});
  ASSERT_EQ(mailboxes_[1].hints.size(), 1U);
  EXPECT_FALSE(mailboxes_[1].hints[0].message);
  EXPECT_EQ(mailboxes_[1].hints[0].at, InboxPosition(40));
}

TEST_F(DispatcherTest, SignalsGoToEverySessionButTheExcepted) {
  registry_.add("alice", "phone", alice_);
  registry_.add("alice", "laptop", alice_laptop_);
  const auto signal = std::make_shared<const Signal>(TypingSignal{private_conversation("alice", "bob"), UserId("bob"), true});
  dispatcher_.route("alice", signal, alice_);
  dispatcher_.route("nobody", signal);
  EXPECT_TRUE(mailboxes_[0].signals.empty());
  ASSERT_EQ(mailboxes_[1].signals.size(), 1U);
  EXPECT_EQ(mailboxes_[1].signals[0].connection, alice_laptop_);
}

TEST_F(DispatcherTest, ManyAcksOfAnIntervalBecomeOneReceiptToThePeer) {
  registry_.add("alice", "phone", alice_);
  registry_.add("bob", "phone", bob_);
  Receipts receipts(dispatcher_);
  const ConversationId conversation = private_conversation("alice", "bob");
  for (std::uint64_t seq = 1; seq <= 100; ++seq) receipts.delivered(conversation.view(), "bob", MessageSeq(seq));
  receipts.delivered(conversation.view(), "bob", MessageSeq(3));
  EXPECT_EQ(receipts.dirty(), 1U);
  receipts.flush();
  receipts.flush();
  ASSERT_EQ(mailboxes_[0].signals.size(), 1U);
  EXPECT_TRUE(mailboxes_[1].signals.empty());
  EXPECT_EQ(receipt(mailboxes_[0].signals[0]).delivered_seq, MessageSeq(100));
  EXPECT_EQ(receipt(mailboxes_[0].signals[0]).read_seq, MessageSeq(0));
  EXPECT_EQ(receipt(mailboxes_[0].signals[0]).user, UserId("bob"));
}

TEST_F(DispatcherTest, AReadGoesToThePeerAndToTheReadersOtherDevices) {
  registry_.add("alice", "phone", alice_);
  registry_.add("alice", "laptop", alice_laptop_);
  registry_.add("bob", "phone", bob_);
  Receipts receipts(dispatcher_);
  receipts.read(private_conversation("alice", "bob").view(), "alice", MessageSeq(9), alice_);
  receipts.flush();
  EXPECT_TRUE(mailboxes_[0].signals.empty()) << "not to the connection that read";
  ASSERT_EQ(mailboxes_[1].signals.size(), 2U);
  for (const SignalPush& push : mailboxes_[1].signals) EXPECT_EQ(receipt(push).read_seq, MessageSeq(9));
}

TEST_F(DispatcherTest, ReceiptsBeyondTheirBoundAreToldAtOnce) {
  Receipts receipts(dispatcher_);
  for (std::size_t i = 0; i < Receipts::kMaxDirty + 10; ++i) {
    receipts.delivered(private_conversation("bob", "peer" + std::to_string(i)).view(), "bob", MessageSeq(1));
  }
  EXPECT_LE(receipts.dirty(), Receipts::kMaxDirty);
}

TEST_F(DispatcherTest, AConversationWithOneselfHasNoDeliveredReceipts) {
  registry_.add("alice", "phone", alice_);
  Receipts receipts(dispatcher_);
  receipts.delivered(private_conversation("alice", "alice").view(), "alice", MessageSeq(1));
  receipts.flush();
  EXPECT_TRUE(mailboxes_[0].signals.empty());
}

}  // namespace
}  // namespace dunlin

// A session may end wherever it waits for the store: nothing of it is touched afterwards, and its device goes on where it was.
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "messaging/delivery/cursor_keeper.h"
#include "messaging/delivery/dispatcher.h"
#include "messaging/delivery/session_delivery.h"
#include "messaging/delivery/testing/one_node.h"
#include "messaging/model/conversation.h"
#include "runtime/spawn.h"
#include "storage/memory/memory_state_store.h"
#include "storage/memory/testing/shared_engine.h"
#include "storage/shared/shared_store.h"

namespace dunlin {
namespace {

class NoMailbox final : public WorkerMailbox {
 public:
  bool post(DeliveryBatch) override { return true; }
};

// What bob's device has got, of whatever session.
class DeviceSink final : public DeliverySink {
 public:
  DeviceSink(std::map<std::string, std::set<std::uint64_t>>& has, const std::map<std::string, std::uint64_t>& acked)
      : has_(has), acked_(acked) {}
  Pushed push_message(const MessagePtr& message) override {
    auto& seqs = has_[std::string(message->conversation())];
    const auto acked = acked_.find(std::string(message->conversation()));
    EXPECT_TRUE(acked == acked_.end() || message->seq().value() > acked->second) << "what is acked came again";
    EXPECT_LE(message->seq().value(), seqs.size() + 1) << "a hole in " << message->conversation();
    seqs.insert(message->seq().value());
    return Pushed::Queued;
  }
  Pushed push_gap(const ConversationId&, const SeqGap&) override { return Pushed::Queued; }
  const UserId& user() const override { return user_; }
  const SessionKey& key() const override { return key_; }

 private:
  std::map<std::string, std::set<std::uint64_t>>& has_;
  const std::map<std::string, std::uint64_t>& acked_;
  const UserId user_{"bob"};
  const SessionKey key_ = SessionKey::random();
};

class SessionEndTest : public testing::Test {
 protected:
  static constexpr int kPeers = 9;
  static constexpr int kEach = 5;

  SessionEndTest() {
    store_.set_listener(&dispatcher_);
    context_.options.max_flights = 64;
    context_.options.inbox_page = 3;
    context_.options.page_messages = 2;
    for (int i = 0; i < kEach; ++i) {
      for (int peer = 0; peer < kPeers; ++peer) {
        const std::string from = "peer" + std::to_string(peer);
        AppendRequest request;
        request.message = Message::create({conversation(peer).view(), from, "m" + std::to_string(i), {}, "{}"});
        store_.append({&request, 1});
      }
      while (engine_.pump_one()) {
      }
    }
  }
  static ConversationId conversation(int peer) { return private_conversation("peer" + std::to_string(peer), "bob"); }

  struct Session {
    explicit Session(SessionEndTest& of, ConnectionRef as)
        : test(of), connection(as), sink(of.has_, of.acked_), delivery(of.context_, sink) {
      test.registry_.add("bob", "phone", connection);
      test.alive_.insert(this);
      spawn(attach(test, this));
    }
    ~Session() {
      test.alive_.erase(this);
      test.registry_.remove("bob", connection);
      if (started) test.keeper_.keep({UserId("bob"), DeviceId("phone"), delivery.cursor()});
    }
    // As connect does: where the device is, the first page, then the delivery with what the app shows.
    static Task<void> attach(SessionEndTest& test, Session* self) {
      AttachRequest request{UserId("bob"), DeviceId("phone"), std::nullopt, false, std::nullopt};
      auto attached = co_await test.keeper_.attach(std::move(request));
      if (!test.alive_.contains(self)) co_return;
      if (!attached.ok()) {
        ADD_FAILURE() << attached.error().to_string();
        co_return;
      }
      NewsQuery query = SessionDelivery::first_page(test.context_.options, UserId("bob"), attached->cursor.position);
      auto news = co_await test.store_.news_since(std::move(query));
      if (!test.alive_.contains(self)) co_return;
      self->started = true;
      DeviceCursor cursor = attached->cursor;
      for (const auto& [id, seq] : test.acked_) cursor.exceptions.emplace(ConversationId(id), MessageSeq(seq));
      self->delivery.start(cursor, {conversation(7), conversation(2)}, *std::move(news));
    }
    SessionEndTest& test;
    const ConnectionRef connection;
    DeviceSink sink;
    bool started = false;
    SessionDelivery delivery;
  };

  ManualClock clock_;
  ServerMetrics metrics_;
  SharedEngine engine_{SharedEngineOptions{.clock = &clock_, .delay = Milliseconds(20)}};
  std::unique_ptr<SharedEngine::Connection> engine_connection_ = engine_.connect();
  SessionRegistry registry_;
  OneNodeDirectory directory_{NodeId("n1"), registry_};
  OneNodeBus bus_;
  shared::SharedStore store_{{.node = NodeId("n1"), .node_epoch = 1, .buckets = 4}, *engine_connection_, directory_, bus_, clock_};
  MemoryStateStore state_{[this](const UserId& user) { return engine_.newest(user); }};
  NoMailbox mailbox_;
  Dispatcher dispatcher_{registry_, {&mailbox_}};
  DeviceTurns turns_;
  CursorKeeper keeper_{store_, store_, state_, clock_, turns_};
  DeliveryContext context_{store_, store_, clock_, metrics_, {}};
  std::set<const Session*> alive_;
  std::map<std::string, std::set<std::uint64_t>> has_;
  std::map<std::string, std::uint64_t> acked_;  // by bob's device

  // It has what it has acked, and of the rest nothing.
  void forget_unacked() {
    has_.clear();
    for (const auto& [id, seq] : acked_) {
      for (std::uint64_t each = 1; each <= seq; ++each) has_[id].insert(each);
    }
  }
};

TEST_F(SessionEndTest, AtEachOfItsWaits) {
  for (const bool half_acked : {false, true}) {
    acked_.clear();
    for (int peer = 0; half_acked && peer < kPeers; peer += 2) acked_[conversation(peer).str()] = 2;
    int waits = 0;
    for (bool caught_up = false; !caught_up; ++waits) {
      ASSERT_LT(waits, 500);
      forget_unacked();
      ASSERT_TRUE(block_on(state_.forget_device(UserId("bob"), DeviceId("phone"))).ok());
      auto session = std::make_unique<Session>(*this, 1);
      for (int i = 0; i < waits && engine_.pump_one(); ++i) {
      }
      caught_up = session->started && session->delivery.caught_up();
      session.reset();
      while (engine_.pump_one()) {
      }
      ASSERT_TRUE(block_on(keeper_.save()).ok());

      forget_unacked();  // so what the cursor claims beyond that is a hole
      auto next = std::make_unique<Session>(*this, 2);
      while (engine_.pump_one()) {
      }
      EXPECT_TRUE(next->delivery.caught_up());
      for (int peer = 0; peer < kPeers; ++peer) {
        EXPECT_EQ(has_[conversation(peer).str()].size(), std::size_t{kEach}) << peer << " after " << waits << " waits";
      }
      next.reset();
      static_cast<void>(block_on(keeper_.save()));
    }
    EXPECT_GT(waits, 20) << "there were few waits";
  }
}

TEST_F(SessionEndTest, WhileItPushesAgain) {
  int stopped_within = 0;
  for (int waits = 0; waits < 12; ++waits) {
    has_.clear();
    const std::uint64_t again = metrics_.retransmissions_total.value();
    ASSERT_TRUE(block_on(state_.forget_device(UserId("bob"), DeviceId("phone"))).ok());
    auto session = std::make_unique<Session>(*this, 1);
    while (engine_.pump_one()) {
    }
    ASSERT_TRUE(session->delivery.caught_up());
    clock_.advance(context_.options.retransmit_after * 2);
    session->delivery.on_heartbeat();
    for (int i = 0; i < waits && engine_.pump_one(); ++i) {
    }
    const std::uint64_t pushed = metrics_.retransmissions_total.value() - again;
    if (pushed > 0 && pushed < kPeers * kEach) ++stopped_within;
    session.reset();
    while (engine_.pump_one()) {
    }
    static_cast<void>(block_on(keeper_.save()));
  }
  EXPECT_GT(stopped_within, 3);
}

}  // namespace
}  // namespace dunlin

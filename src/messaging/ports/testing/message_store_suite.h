#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "messaging/model/conversation.h"
#include "messaging/ports/message_store.h"
#include "runtime/spawn.h"

// The conformance suite of MessageStore: each promise of messaging/ports/message_store.h is a case here. An adapter's test includes this
// file in one unit and instantiates it with a factory:
//   INSTANTIATE_TEST_SUITE_P(Memory, MessageStoreSuite, testing::Values(MessageStoreFactory([] { return std::make_unique<MyFixture>();
//   })));
namespace dunlin {

// One fresh, empty store, and what the cases need to do to it.
class MessageStoreFixture {
 public:
  virtual ~MessageStoreFixture() = default;
  virtual MessageStore& store() = 0;
  // Makes appends be refused with StoreUnavailable until switched off.
  virtual void refuse_appends(bool refuse) = 0;
  // Retention trims everything at or below the position (at least). False: it did not.
  virtual bool trim_through(LogPosition position) = 0;
  // Makes derived state catch up (seals, ingests), so that reads come from where old records live. Nothing for stores without one.
  virtual void settle_derived() {}
  // Ends the store as its owner does before destroying it. Nothing for stores that have no end.
  virtual void close() {}
};
using MessageStoreFactory = std::function<std::unique_ptr<MessageStoreFixture>()>;

// Remembers outcomes and checks what a listener is promised while it is called.
class RecordingListener final : public CommitListener {
 public:
  explicit RecordingListener(MessageStore& store) : store_(store) {}

  void on_outcomes(std::span<AppendOutcome> outcomes, LogPosition settled_through) override {
    // Before the lock, behind which a second call would only wait its turn.
    const bool alone = inside_.fetch_add(1) == 0;
    if (const auto stay = stay_.load(); stay.count() > 0) std::this_thread::sleep_for(stay);
    std::lock_guard lock(mutex_);
    if (!alone) violations_.push_back("two calls at a time");
    for (AppendOutcome& outcome : outcomes) check(outcome);
    if (settled_through < settled_through_) violations_.push_back("settled_through went back");
    settled_through_ = settled_through;
    for (AppendOutcome& outcome : outcomes) outcomes_.push_back(outcome);
    inside_.fetch_sub(1);
    arrived_.notify_all();
  }

  // Each call takes that long, so that one beside it is seen.
  void stay(std::chrono::microseconds each) { stay_ = each; }

  // All outcomes so far, once there are at least `count`.
  std::vector<AppendOutcome> wait_for(std::size_t count) {
    std::unique_lock lock(mutex_);
    const bool came = arrived_.wait_for(lock, std::chrono::seconds(60), [&] { return outcomes_.size() >= count; });
    EXPECT_TRUE(came) << "only " << outcomes_.size() << " of " << count << " outcomes came";
    return outcomes_;
  }
  std::vector<std::string> violations() {
    std::lock_guard lock(mutex_);
    return violations_;
  }
  LogPosition settled_through() {
    std::lock_guard lock(mutex_);
    return settled_through_;
  }

 private:
  void check(const AppendOutcome& outcome) {
    if (outcome.refused || outcome.duplicate) return;
    const Message& message = *outcome.message;
    if (message.position() <= last_) violations_.push_back("positions do not ascend");
    last_ = message.position();
    if (store_.newest_position() < message.position()) violations_.push_back("newest_position is below what the listener is told");
    if (store_.settled_position() >= message.position()) violations_.push_back("settled_position ran ahead of the listener");
    RangeQuery query{ConversationId(message.conversation()), message.seq(), message.seq(), 1, 1 << 20, false};
    const auto page = store_.range_in_memory(query);
    if (page && page->messages.empty()) violations_.push_back("the listener was told before reads showed the record");
    if (store_.active_since_in_memory(message.sender(), message.position().prev()) == std::optional(false)) {
      violations_.push_back("the listener was told before activity showed the record");
    }
  }

  MessageStore& store_;
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::vector<AppendOutcome> outcomes_;
  std::vector<std::string> violations_;
  LogPosition last_;
  LogPosition settled_through_;
  std::atomic<int> inside_{0};
  std::atomic<std::chrono::microseconds> stay_{std::chrono::microseconds(0)};
};

class MessageStoreSuite : public testing::TestWithParam<MessageStoreFactory> {
 protected:
  struct SendOptions {
    std::string body = R"({"text":"hi"})";
    std::string content_type;
    bool abandon = false;
  };

  void SetUp() override {
    fixture_ = GetParam()();
    ASSERT_NE(fixture_, nullptr);
    listener_ = std::make_unique<RecordingListener>(store());
    store().set_listener(listener_.get());
  }
  void TearDown() override {
    if (!listener_) return;
    for (const std::string& violation : listener_->violations()) ADD_FAILURE() << violation;
    EXPECT_EQ(count_answers(), asked_) << "each request is answered once";
    fixture_.reset();
  }

  MessageStore& store() { return fixture_->store(); }
  SessionKey open_session() {
    const SessionKey session = SessionKey::random();
    store().begin_session(session);
    return session;
  }

  AppendRequest request(SessionKey session, std::string_view from, std::string_view to, std::string_view id, const SendOptions& options) {
    AppendRequest out;
    const ConversationId conversation = private_conversation(from, to);
    out.message = Message::create({conversation.view(), from, id, options.content_type, options.body});
    out.durability = store().durability();
    out.session = session;
    out.id = NumberedMsgId::parse(id);
    out.abandon = options.abandon;
    out.reply = {1, asked_++};
    return out;
  }
  AppendRequest request(SessionKey session, std::string_view from, std::string_view to, std::string_view id) {
    return request(session, from, to, id, SendOptions());
  }

  // Appends all in one call and gives their outcomes in the order of the requests.
  std::vector<AppendOutcome> append(std::vector<AppendRequest> requests) {
    std::vector<std::uint64_t> order;
    for (const AppendRequest& each : requests) order.push_back(each.reply.request);
    store().append(requests);
    const auto all = listener_->wait_for(asked_);
    std::vector<AppendOutcome> out;
    for (const std::uint64_t number : order) {
      for (const AppendOutcome& outcome : all) {
        if (outcome.reply.request == number) out.push_back(outcome);
      }
    }
    EXPECT_EQ(out.size(), order.size());
    out.resize(order.size());
    return out;
  }
  AppendOutcome send(SessionKey session, std::string_view from, std::string_view to, std::string_view id, const SendOptions& options) {
    std::vector<AppendRequest> one;
    one.push_back(request(session, from, to, id, options));
    return append(std::move(one)).front();
  }
  AppendOutcome send(SessionKey session, std::string_view from, std::string_view to, std::string_view id) {
    return send(session, from, to, id, SendOptions());
  }
  // `count` messages with free ids in one call.
  std::vector<AppendOutcome> send_many(SessionKey session, std::string_view from, std::string_view to, int count) {
    std::vector<AppendRequest> requests;
    for (int i = 0; i < count; ++i) requests.push_back(request(session, from, to, "many-" + std::to_string(asked_)));
    return append(std::move(requests));
  }
  void wait_until_settled(LogPosition position) {
    for (int i = 0; i < 20000 && store().settled_position() < position; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    ASSERT_GE(store().settled_position(), position);
  }

  template <class T>
  T get(Task<Result<T>> task) {
    Result<T> result = block_on(std::move(task));
    if (!result.ok()) {
      ADD_FAILURE() << result.error().to_string();
      return T{};
    }
    return *std::move(result);
  }
  RangePage range(RangeQuery query) { return get(store().range(std::move(query))); }
  RangePage range(const ConversationId& conversation, std::uint64_t from, std::uint64_t to) {
    return range({conversation, MessageSeq(from), MessageSeq(to), 10000, 64 << 20, false});
  }
  static std::vector<std::uint64_t> seqs(const RangePage& page) {
    std::vector<std::uint64_t> out;
    for (const MessagePtr& message : page.messages) out.push_back(message->seq().value());
    return out;
  }
  static std::vector<std::uint64_t> from_to(std::uint64_t from, std::uint64_t to) {
    std::vector<std::uint64_t> out;
    for (; from <= to; ++from) out.push_back(from);
    return out;
  }
  std::size_t count_answers() {
    std::set<std::uint64_t> distinct;
    const auto all = listener_->wait_for(asked_);
    for (const AppendOutcome& outcome : all) distinct.insert(outcome.reply.request);
    EXPECT_EQ(all.size(), distinct.size()) << "a request was answered twice";
    return distinct.size();
  }

  std::unique_ptr<MessageStoreFixture> fixture_;
  std::unique_ptr<RecordingListener> listener_;
  std::uint64_t asked_ = 0;
};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(MessageStoreSuite);

}  // namespace dunlin

#include "messaging/ports/testing/message_store_suite_activity.inc"
#include "messaging/ports/testing/message_store_suite_append.inc"
#include "messaging/ports/testing/message_store_suite_epoch.inc"
#include "messaging/ports/testing/message_store_suite_followers.inc"
#include "messaging/ports/testing/message_store_suite_order.inc"
#include "messaging/ports/testing/message_store_suite_read.inc"
#include "messaging/ports/testing/message_store_suite_recall.inc"

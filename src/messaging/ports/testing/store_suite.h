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
#include <span>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "messaging/model/conversation.h"
#include "messaging/ports/feed.h"
#include "messaging/ports/inboxes.h"
#include "messaging/ports/one_order.h"
#include "messaging/ports/timelines.h"
#include "runtime/spawn.h"

// The conformance suites of Timelines, Inboxes and Feed: each promise of the ports is a case here. An adapter's test includes this file in
// one unit and instantiates them with a factory; Feed's only where the store's records have an order:
//   INSTANTIATE_TEST_SUITE_P(Memory, TimelinesSuite, testing::Values(StoreFactory([] { return std::make_unique<MyFixture>(); })));
namespace dunlin {

// One fresh, empty store, and what the cases need to do to it.
class StoreFixture {
 public:
  virtual ~StoreFixture() = default;
  virtual Timelines& timelines() = 0;
  virtual Inboxes& inboxes() = 0;
  virtual Feed* feed() { return nullptr; }
  // One thread tells everything, in the order of MessagePlace::position, which is everybody's inbox position.
  virtual bool one_order() const { return true; }
  // Makes appends be refused with StoreUnavailable until switched off.
  virtual void refuse_appends(bool refuse) = 0;
  // Retention trims these, the newest there are in their conversation, and everything stored before them (at least). False: it did not.
  virtual bool trim(std::span<const AppendOutcome> old) = 0;
  // Makes derived state catch up (seals, ingests), so that reads come from where old records live. Nothing for stores without one.
  virtual void settle_derived() {}
  // Ends the store as its owner does before destroying it. Nothing for stores that have no end.
  virtual void close() {}
};
using StoreFactory = std::function<std::unique_ptr<StoreFixture>()>;

// Remembers what a listener is told and checks what it is promised while it is called.
class RecordingListener final : public StoreListener {
 public:
  explicit RecordingListener(StoreFixture& fixture) : fixture_(fixture) {}

  void on_answers(std::span<AppendOutcome> answers) override {
    const Alone alone(*this);
    std::lock_guard lock(mutex_);
    for (const AppendOutcome& outcome : answers) check(outcome);
    for (AppendOutcome& outcome : answers) outcomes_.push_back(outcome);
    arrived_.notify_all();
  }

  void on_records(std::span<const InboxNews> news) override {
    const Alone alone(*this);
    std::lock_guard lock(mutex_);
    for (const InboxNews& one : news) {
      for (const ToldRecord& record : one.records) check(one.user, *record.message);
      if (one.has_range) check_range(one);
    }
    arrived_.notify_all();
  }

  std::optional<InboxPosition> told(std::string_view user) const override {
    std::lock_guard lock(newest_mutex_);
    const auto at = newest_.find(user);
    return at == newest_.end() ? InboxPosition() : at->second;
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
  // Where the user was told that it stands, once he was.
  InboxPosition position(std::string_view user, std::string_view conversation, MessageSeq seq) {
    std::unique_lock lock(mutex_);
    const std::pair key{std::string(user), std::string(conversation)};
    const bool came = arrived_.wait_for(lock, std::chrono::seconds(60), [&] { return positions_[key].contains(seq); });
    EXPECT_TRUE(came) << user << " was not told of " << conversation << " " << seq.value();
    return positions_[key][seq];
  }
  std::vector<std::string> violations() {
    std::lock_guard lock(mutex_);
    return violations_;
  }

 private:
  // Before the lock, behind which a second call would only wait its turn.
  struct Alone {
    explicit Alone(RecordingListener& of) : listener(of) {
      if (listener.inside_.fetch_add(1) != 0 && listener.fixture_.one_order()) {
        std::lock_guard lock(listener.mutex_);
        listener.violations_.push_back("two calls at a time");
      }
      if (const auto stay = listener.stay_.load(); stay.count() > 0) std::this_thread::sleep_for(stay);
    }
    ~Alone() { listener.inside_.fetch_sub(1); }
    RecordingListener& listener;
  };

  void check(const AppendOutcome& outcome) {
    if (!outcome.stored_now()) return;
    const Message& message = *outcome.message;
    RangeQuery query{ConversationId(message.conversation()), message.seq(), message.seq(), 1, 1 << 20, false};
    const auto page = fixture_.timelines().range_in_memory(query);
    if (page && page->messages.empty()) violations_.push_back("the listener was told before reads showed the record");
    if (!fixture_.one_order()) return;
    if (const Feed* feed = fixture_.feed(); feed != nullptr && feed->feed_end() >= message.place().position) {
      violations_.push_back("feed_end ran ahead of the listener");
    }
    if (message.place().position <= last_) violations_.push_back("positions do not ascend");
    last_ = message.place().position;
    if (fixture_.inboxes().quiet_through(message.sender(), to_inbox(message.place().position.prev()))) {
      violations_.push_back("what is answered is called quiet");
    }
  }
  void check(std::string_view user, const Message& message) {
    MessageSeq& told = told_[{std::string(user), std::string(message.conversation())}];
    if (message.seq() <= told) violations_.push_back("records of a conversation do not come in seq order");
    told = message.seq();
  }
  void check_range(const InboxNews& news) {
    {
      std::lock_guard lock(newest_mutex_);
      InboxPosition& newest = newest_[std::string(news.user)];
      newest = std::max(newest, news.at);
    }
    if (news.records.empty()) return;
    const std::string user(news.user);
    auto& known = positions_[{user, std::string(news.records.front().message->conversation())}];
    if (!known.empty() && (known.rbegin()->first >= news.first_seq || known.rbegin()->second >= news.at)) {
      violations_.push_back("positions of a conversation do not ascend for a user");
    }
    // As many positions as seqs where a range has several.
    for (std::uint64_t seq = news.first_seq.value(); seq <= news.seq.value(); ++seq) {
      known[MessageSeq(seq)] = InboxPosition(news.at.value() - (news.seq.value() - seq));
    }
    const InboxPosition before = known[news.first_seq].prev();
    if (news.previous && *news.previous != before) violations_.push_back("a range does not begin where the one before it has ended");
    const auto quiet = fixture_.inboxes().quiet_through(user, before);
    if (quiet && *quiet >= known[news.first_seq]) violations_.push_back("quiet_through passes what is being told");
  }

  StoreFixture& fixture_;
  mutable std::mutex newest_mutex_;  // a leaf: asked from within
  std::map<std::string, InboxPosition, std::less<>> newest_;
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::vector<AppendOutcome> outcomes_;
  std::map<std::pair<std::string, std::string>, std::map<MessageSeq, InboxPosition>> positions_;
  std::map<std::pair<std::string, std::string>, MessageSeq> told_;
  std::vector<std::string> violations_;
  LogPosition last_;
  std::atomic<int> inside_{0};
  std::atomic<std::chrono::microseconds> stay_{std::chrono::microseconds(0)};
};

class StoreSuite : public testing::TestWithParam<StoreFactory> {
 protected:
  struct SendOptions {
    std::string body = R"({"text":"hi"})";
    std::string content_type;
    bool abandon = false;
  };

  void SetUp() override {
    fixture_ = GetParam()();
    ASSERT_NE(fixture_, nullptr);
    listener_ = std::make_unique<RecordingListener>(*fixture_);
    store().set_listener(listener_.get());
  }
  void TearDown() override {
    if (!listener_) return;
    for (const std::string& violation : listener_->violations()) ADD_FAILURE() << violation;
    EXPECT_EQ(count_answers(), asked_) << "each request is answered once";
    fixture_->close();  // the listener, which may be in a call, asks the fixture
    fixture_.reset();
  }

  Timelines& store() { return fixture_->timelines(); }
  Inboxes& inboxes() { return fixture_->inboxes(); }
  Feed& feed() { return *fixture_->feed(); }
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
  // Where the record stands in the user's inbox, once he was told.
  InboxPosition at(std::string_view user, const AppendOutcome& sent) {
    return listener_->position(user, sent.message->conversation(), sent.seq);
  }
  InboxPage entries_since(std::string_view user, InboxPosition after, std::size_t limit) {
    return get(inboxes().news_since({UserId(user), after, limit, 0, 0})).inbox;
  }
  MessageSeq seq_at(std::string_view user, const ConversationId& conversation, InboxPosition position) {
    return get(inboxes().seq_at(UserId(user), conversation, position));
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

  std::unique_ptr<StoreFixture> fixture_;
  std::unique_ptr<RecordingListener> listener_;
  std::uint64_t asked_ = 0;
};
class TimelinesSuite : public StoreSuite {};
class InboxesSuite : public StoreSuite {
 protected:
  void wait_until_quiet(std::string_view user, InboxPosition after, InboxPosition through) {
    for (int i = 0; i < 10000; ++i) {
      const auto quiet = inboxes().quiet_through(user, after);
      if (quiet && *quiet >= through) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    ADD_FAILURE() << "nothing of " << user << " lies above " << after.value() << ", and memory does not say it through " << through.value();
  }
  // What was just sent, into the truth of both users.
  template <class Truth>
  void note(Truth& truth, const std::vector<AppendOutcome>& sent) {
    for (const AppendOutcome& outcome : sent) {
      const auto pair = parse_private(outcome.message->conversation());
      truth.add(pair->first, *outcome.message, at(pair->first, outcome));
      if (pair->second != pair->first) truth.add(pair->second, *outcome.message, at(pair->second, outcome));
    }
  }
};
class FeedSuite : public StoreSuite {
 protected:
  void wait_until_settled(LogPosition position) {
    for (int i = 0; i < 20000 && feed().feed_end() < position; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    ASSERT_GE(feed().feed_end(), position);
  }
};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(TimelinesSuite);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(InboxesSuite);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(FeedSuite);

}  // namespace dunlin

#include "messaging/ports/testing/feed_suite.inc"
#include "messaging/ports/testing/inboxes_suite.inc"
#include "messaging/ports/testing/timelines_suite_append.inc"
#include "messaging/ports/testing/timelines_suite_epoch.inc"
#include "messaging/ports/testing/timelines_suite_order.inc"
#include "messaging/ports/testing/timelines_suite_read.inc"
#include "messaging/ports/testing/timelines_suite_recall.inc"

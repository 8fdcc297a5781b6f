// The store over an engine, a directory and a bus that answer what the test says, when it says it; all on one thread.
#include "storage/shared/shared_store.h"

#include <gtest/gtest.h>

#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>

#include "messaging/model/conversation.h"
#include "runtime/completion.h"
#include "runtime/spawn.h"

namespace dunlin::shared {
namespace {

using Kind = Appended::Kind;

// Each append and note waits until the test answers it.
class ScriptedEngine final : public Engine {
 public:
  using AppendAnswer = Result<std::vector<Appended>>;
  using NoteAnswer = std::vector<Result<Noted>>;

  Task<AppendAnswer> append(Append batch) override {
    auto [completer, completion] = make_completion<std::vector<Appended>>();
    appends.emplace_back(std::move(batch), std::move(completer));
    co_return co_await std::move(completion);
  }
  Task<NoteAnswer> note(std::vector<Note> made) override {
    const std::size_t count = made.size();
    auto [completer, completion] = make_completion<NoteAnswer>();
    notes.emplace_back(std::move(made), std::move(completer));
    if (notes_at_once) answer_note();
    auto answer = co_await std::move(completion);
    if (answer.ok()) co_return *std::move(answer);
    NoteAnswer failed(count, answer.error());
    co_return failed;
  }
  Task<Result<std::vector<Due>>> due(std::uint32_t bucket, Milliseconds, ConversationId after, std::size_t limit) override {
    ++due_reads[bucket];
    if (due_fails.contains(bucket)) co_return Error(ErrorCode::Timeout);
    std::vector<Due> out;
    for (auto at = rows[bucket].upper_bound(after); at != rows[bucket].end() && out.size() < limit; ++at) {
      out.push_back({at->first, at->second, 0});
    }
    co_return out;
  }
  Task<Status> clear_due(std::uint32_t bucket, std::vector<Due> noted) override {
    for (const Due& one : noted) {
      rows[bucket].erase(one.conversation);
      cleared.push_back(one);
    }
    co_return Status();
  }
  Epoch epoch() const override { return Epoch{1}; }
  Task<Result<bool>> renew_epoch(Epoch) override { co_return false; }
  Durability durability() const override { return Durability::Fsync; }
  Task<Result<ConversationHead>> head(ConversationId) override { co_return ConversationHead{}; }
  Task<Result<std::vector<RangePage>>> ranges(std::vector<RangeQuery>) override { co_return std::vector<RangePage>{}; }
  Task<Result<std::vector<TimelineEnd>>> ends(std::vector<ConversationId>, std::size_t) override { co_return std::vector<TimelineEnd>{}; }
  Task<Status> recall(ConversationId, MessageSeq) override { co_return Status(); }
  Task<Result<InboxPosition>> newest(UserId) override { co_return InboxPosition(); }
  Task<Result<NewsPage>> news_since(NewsQuery) override { co_return NewsPage{}; }
  Task<Result<InboxPage>> newest_entries(UserId, InboxPosition, std::size_t) override { co_return InboxPage{}; }
  Task<Result<std::vector<MessageSeq>>> seqs_at(std::vector<SeqQuery>) override { co_return std::vector<MessageSeq>{}; }
  Task<Result<ConversationsPage>> conversations(UserId, ConversationId, std::size_t) override { co_return ConversationsPage{}; }
  InboxPosition trimmed_through(std::string_view) const override { return InboxPosition(); }
  Task<Result<InboxPosition>> highest_given(UserId) override { co_return InboxPosition(); }

  // -- what the test says
  void answer_append(AppendAnswer answer) {
    auto call = std::move(appends.front());
    appends.pop_front();
    call.second.complete(std::move(answer));
  }
  // All of the batch is stored, at the level that is asked for.
  void store() {
    std::vector<Appended> out;
    for (const Send& send : appends.front().first.sends) {
      Appended one;
      one.place.seq = heads_[std::string(send.message->conversation())] = heads_[std::string(send.message->conversation())].next();
      one.place.time_ms = 7;
      one.durability = send.durability;
      out.push_back(one);
    }
    answer_append(std::move(out));
  }
  // Each note adds, but those of these users.
  void answer_note(const std::map<std::string, ErrorCode>& failing = {}, bool added = true) {
    auto call = std::move(notes.front());
    notes.pop_front();
    NoteAnswer out;
    for (const Note& note : call.first) {
      if (const auto at = failing.find(note.user.str()); at != failing.end()) {
        out.emplace_back(Error(at->second));
        continue;
      }
      Noted noted;
      noted.added = added;
      noted.first_seq = note.seq;
      noted.newest = InboxPosition(note.seq.value());
      noted.previous = noted.newest.prev();
      noted.generation = 3;
      out.emplace_back(noted);
    }
    call.second.complete(std::move(out));
  }

  std::deque<std::pair<Append, Completer<std::vector<Appended>>>> appends;
  std::deque<std::pair<std::vector<Note>, Completer<NoteAnswer>>> notes;
  bool notes_at_once = false;
  std::map<std::uint32_t, std::map<ConversationId, MessageSeq>> rows;  // due
  std::map<std::uint32_t, int> due_reads;
  std::set<std::uint32_t> due_fails;
  std::vector<Due> cleared;

 private:
  std::map<std::string, MessageSeq> heads_;
};

// Everybody has sessions on n1, which is this node, and on n2.
class ScriptedDirectory final : public SessionDirectory {
 public:
  Task<Result<std::vector<std::vector<NodeId>>>> nodes_of(std::vector<UserId> users) override {
    if (fails) co_return Error(ErrorCode::Timeout);
    co_return std::vector<std::vector<NodeId>>(users.size(), {NodeId("n1"), NodeId("n2")});
  }
  bool fails = false;
};

class RecordingBus final : public Bus {
 public:
  void send(const NodeId& to, std::vector<BusNews> news) override {
    EXPECT_EQ(to, NodeId("n2"));
    for (BusNews& one : news) sent.push_back(std::move(one));
  }
  std::vector<BusNews> sent;
};

class Listener final : public StoreListener {
 public:
  struct Told {
    std::string user;
    std::vector<std::uint64_t> seqs;
    std::vector<std::uint64_t> senders;
    bool has_range = false;
  };
  void on_answers(std::span<AppendOutcome> answers) override {
    for (AppendOutcome& one : answers) outcomes.push_back(one);
    if (during) during();
  }
  void on_records(std::span<const InboxNews> news) override {
    for (const InboxNews& one : news) {
      Told& to = told.emplace_back();
      to.user = one.user;
      to.has_range = one.has_range;
      for (const ToldRecord& record : one.records) {
        to.seqs.push_back(record.message->seq().value());
        to.senders.push_back(record.sender);
      }
    }
  }
  // "id" for each that is stored, "id:code" for one that is refused, with "?" when it is not known; since the last call.
  std::vector<std::string> take() {
    std::vector<std::string> out;
    for (const AppendOutcome& one : outcomes) {
      std::string text(one.message->client_msg_id());
      if (one.refused) text += ":" + std::string(error_info(*one.refused).name) + (one.unknown ? "?" : "");
      out.push_back(text);
    }
    outcomes.clear();
    return out;
  }
  std::vector<AppendOutcome> outcomes;
  std::vector<Told> told;
  std::function<void()> during;
};

using Strings = std::vector<std::string>;

class SharedStoreTest : public testing::Test {
 protected:
  static constexpr std::uint64_t kConnection = 77;

  SharedStoreTest() {
    options_.node = NodeId("n1");
    options_.node_epoch = 5;
    options_.buckets = 1;
  }
  SharedStore& store() {
    if (!store_) {
      store_ = std::make_unique<SharedStore>(options_, engine_, directory_, bus_, clock_);
      store_->set_listener(&listener_);
      store_->begin_session(session_);
    }
    return *store_;
  }
  AppendRequest request(std::string_view id, std::string_view body = "{}", std::string_view to = "bob") {
    AppendRequest out;
    out.message = Message::create({private_conversation("ann", to).view(), "ann", id, {}, body});
    out.session = session_;
    out.reply = {kConnection, ++requests_};
    return out;
  }
  void send(AppendRequest one) { store().append({&one, 1}); }
  void send(std::string_view id) { send(request(id)); }
  void send_all(std::initializer_list<std::string_view> ids) {
    std::vector<AppendRequest> all;
    for (const std::string_view id : ids) all.push_back(request(id));
    store().append(all);
  }
  void pass(Milliseconds time) {
    for (; time.count() > 0; time -= Milliseconds(1)) {
      clock_.advance(Milliseconds(1));
      store().tick();
    }
  }
  static Strings ids(const Append& append) {
    Strings out;
    for (const Send& send : append.sends) out.emplace_back(send.message->client_msg_id());
    return out;
  }
  // Ends it.
  bool session_has_ended() {
    auto ended = std::make_shared<bool>(false);
    spawn([](SharedStore& of, SessionKey session, std::shared_ptr<bool> done) -> Task<void> {
      co_await of.end_session(session);
      *done = true;
    }(store(), session_, ended));
    return *ended;
  }

  ManualClock clock_;
  ScriptedEngine engine_;
  ScriptedDirectory directory_;
  RecordingBus bus_;
  Listener listener_;
  SharedOptions options_;
  const SessionKey session_ = SessionKey::random();
  std::uint64_t requests_ = 0;
  std::unique_ptr<SharedStore> store_;
};

// -- appends

TEST_F(SharedStoreTest, SendsGatherWhileABatchIsUnderWay) {
  options_.max_batch = 2;
  for (const char* id : {"a", "b", "c", "d"}) send(id);
  ASSERT_EQ(engine_.appends.size(), 1U);
  EXPECT_EQ(ids(engine_.appends.front().first), Strings{"a"});
  engine_.store();
  ASSERT_EQ(engine_.appends.size(), 1U);
  EXPECT_EQ(ids(engine_.appends.front().first), (Strings{"b", "c"}));
  EXPECT_EQ(listener_.take(), Strings{"a"});
}

TEST_F(SharedStoreTest, ABatchIsBoundedInBytes) {
  const std::string body(1'000, 'x');
  options_.max_batch_bytes = 2'500;
  send("a");
  for (const char* id : {"b", "c", "d"}) send(request(id, body));
  engine_.store();
  EXPECT_EQ(ids(engine_.appends.front().first), (Strings{"b", "c"}));
  engine_.store();
  EXPECT_EQ(ids(engine_.appends.front().first), Strings{"d"});
}

// Its first try may have been stored: no later one can say that it was not.
TEST_F(SharedStoreTest, ABatchWhoseFateIsOpenGoesAgainUntilItIsKnown) {
  options_.unknown_after = 4;
  send("a");
  const std::uint64_t number = engine_.appends.front().first.number;
  engine_.answer_append(Error(ErrorCode::Timeout));
  send("b");
  for (const ErrorCode code : {ErrorCode::StoreUnavailable, ErrorCode::Cancelled, ErrorCode::Overloaded}) {
    EXPECT_EQ(listener_.take(), Strings{}) << "nothing is known of it";
    pass(Milliseconds(1'000));
    ASSERT_EQ(engine_.appends.size(), 1U);
    EXPECT_EQ(engine_.appends.front().first.number, number);
    EXPECT_EQ(ids(engine_.appends.front().first), Strings{"a"});
    engine_.answer_append(Error(code));
  }
  EXPECT_EQ(listener_.take(), (Strings{"a:store_unavailable?", "b:retry_in_order"}));
  pass(Milliseconds(1'000));
  engine_.store();
  EXPECT_EQ(engine_.notes.size(), 1U) << "it is stored";
  send("a");
  EXPECT_EQ(engine_.appends.front().first.number, number + 1);
}

TEST_F(SharedStoreTest, ADefiniteRefusalEndsABatch) {
  send_all({"a", "b"});
  engine_.answer_append(Error(ErrorCode::StoreUnavailable));
  EXPECT_EQ(listener_.take(), (Strings{"a:store_unavailable", "b:store_unavailable"}));
  EXPECT_FALSE(store().health().writable);
  send("b");
  EXPECT_EQ(listener_.take(), Strings{"b:retry_in_order"});
  send("a");
  EXPECT_EQ(engine_.appends.front().first.number, 2U);
  engine_.store();
  EXPECT_EQ(listener_.take(), Strings{"a"});
  EXPECT_TRUE(store().health().writable);
}

TEST_F(SharedStoreTest, ARefusalIsForgottenWhenNothingIsSentAnyMore) {
  send("a");
  engine_.answer_append(Error(ErrorCode::StoreUnavailable));
  pass(Milliseconds(9'000));
  EXPECT_FALSE(store().health().writable);
  pass(Milliseconds(2'000));
  EXPECT_TRUE(store().health().writable);
}

TEST_F(SharedStoreTest, AnEngineThatHasTooMuchToDoIsOverloaded) {
  send("a");
  engine_.answer_append(Error(ErrorCode::Overloaded));
  EXPECT_EQ(listener_.take(), Strings{"a:overloaded"});
  EXPECT_TRUE(store().health().writable);
}

// With an engine that answers nothing but Timeout nobody waits for ever, and nothing spins.
TEST_F(SharedStoreTest, BehindABatchThatStaysOpenSendsAreRefusedInOrder) {
  options_.unknown_after = 2;
  send("a");
  send("b");
  engine_.answer_append(Error(ErrorCode::Timeout));
  EXPECT_TRUE(store().health().writable);
  EXPECT_EQ(engine_.appends.size(), 0U) << "a pause";
  pass(Milliseconds(10));
  engine_.answer_append(Error(ErrorCode::Timeout));
  EXPECT_EQ(listener_.take(), (Strings{"a:store_unavailable?", "b:retry_in_order"}));
  EXPECT_FALSE(store().health().writable);
  EXPECT_NE(store().health().reason, "");
  send("a");
  send("b");
  EXPECT_EQ(listener_.take(), (Strings{"a:store_unavailable?", "b:retry_in_order"})) << "at once";
  EXPECT_TRUE(session_has_ended());

  int attempts = 0;
  for (int ms = 0; ms < 20'000; ++ms) {
    pass(Milliseconds(1));
    if (engine_.appends.empty()) continue;
    ++attempts;
    engine_.answer_append(Error(ErrorCode::Timeout));
  }
  EXPECT_GE(attempts, 20);
  EXPECT_LE(attempts, 30) << "pauses double up to a second";
  EXPECT_FALSE(store().health().writable);

  pass(Milliseconds(1'000));
  engine_.store();
  EXPECT_TRUE(store().health().writable);
  EXPECT_EQ(listener_.take(), Strings{}) << "it was answered";
  engine_.answer_note();
  ASSERT_EQ(listener_.told.size(), 2U);
  EXPECT_EQ(listener_.told[0].seqs, std::vector<std::uint64_t>{1});
  EXPECT_EQ(listener_.told[0].senders, std::vector<std::uint64_t>{0}) << "to its sender it is news";
}

TEST_F(SharedStoreTest, TheOneThatWasNotKnownLiftsTheBlockWhenItComesAgain) {
  options_.unknown_after = 1;
  send("a");
  engine_.answer_append(Error(ErrorCode::Timeout));
  EXPECT_EQ(listener_.take(), Strings{"a:store_unavailable?"});
  pass(Milliseconds(20));
  engine_.store();
  send("b");
  EXPECT_EQ(listener_.take(), Strings{"b:retry_in_order"});
  send("a");
  Appended original;
  original.kind = Kind::Duplicate;
  original.place.seq = MessageSeq(1);
  engine_.answer_append(std::vector<Appended>{original});
  ASSERT_EQ(listener_.outcomes.size(), 1U);
  EXPECT_TRUE(listener_.outcomes.front().duplicate);
  EXPECT_EQ(listener_.outcomes.front().seq, MessageSeq(1));
}

TEST_F(SharedStoreTest, HealthCountsTheBucketsThatFail) {
  options_.buckets = 64;
  for (int i = 0; i < 8; ++i) send(request("m", "{}", "peer" + std::to_string(i)));
  ASSERT_GT(engine_.appends.size(), 3U);
  engine_.answer_append(Error(ErrorCode::StoreUnavailable));
  while (!engine_.appends.empty()) engine_.store();
  EXPECT_FALSE(store().health().writable) << "what others have taken says nothing of that one";
}

// -- bounds

TEST_F(SharedStoreTest, ASendTooManyIsNotRefusedBeforeThoseBeforeIt) {
  options_.max_held_bytes = 2'000;
  std::vector<AppendRequest> both;
  both.push_back(request("c"));
  both.push_back(request("a", std::string(3'000, 'x')));
  store().append(both);
  EXPECT_EQ(listener_.take(), Strings{}) << "whether c is stored is not known yet";
  engine_.answer_append(Error(ErrorCode::StoreUnavailable));
  EXPECT_EQ(listener_.take(), (Strings{"c:store_unavailable", "a:retry_in_order"}));
  send("c");
  engine_.store();
  EXPECT_EQ(listener_.take(), Strings{"c"});
}

TEST_F(SharedStoreTest, WhatIsUnderWayOrNotToldYetCounts) {
  options_.max_held_bytes = 2'000;
  send(request("a", std::string(1'500, 'x')));
  send(request("b", std::string(1'500, 'x'), "carol"));
  engine_.store();
  EXPECT_EQ(listener_.take(), (Strings{"a", "b:overloaded"})) << "a is on its way";
  send(request("b", std::string(1'500, 'x'), "carol"));
  EXPECT_EQ(listener_.take(), Strings{"b:overloaded"}) << "a is stored, and not told";
  engine_.answer_note();
  send(request("b", std::string(1'500, 'x'), "carol"));
  engine_.store();
  EXPECT_EQ(listener_.take(), Strings{"b"});
}

TEST_F(SharedStoreTest, ABucketWithTooMuchToNoteRefusesSends) {
  options_.max_unnoted = 3;
  for (const char* id : {"a", "b", "c"}) {
    send(id);
    engine_.store();
  }
  EXPECT_EQ(listener_.take(), (Strings{"a", "b", "c"}));
  send_all({"d", "e"});
  EXPECT_EQ(listener_.take(), (Strings{"d:overloaded", "e:retry_in_order"}));
  engine_.answer_note();
  engine_.answer_note();
  send("d");
  engine_.store();
  EXPECT_EQ(listener_.take(), Strings{"d"});
}

TEST_F(SharedStoreTest, DurabilityGoesInAndComesBack) {
  AppendRequest one = request("a");
  one.durability = Durability::Memory;
  send(std::move(one));
  EXPECT_EQ(engine_.appends.front().first.sends.front().durability, Durability::Memory);
  engine_.store();
  EXPECT_EQ(listener_.outcomes.front().durability, Durability::Memory);
  EXPECT_EQ(listener_.outcomes.front().time_ms, 7U);
}

// -- the end

TEST_F(SharedStoreTest, AfterTheEndNobodyIsToldAndNothingIsStored) {
  send("a");
  send(request("p", "{}", "carol"));
  auto ended = std::make_shared<bool>(false);
  spawn([](SharedStore& of, SessionKey session, std::shared_ptr<bool> done) -> Task<void> {
    co_await of.end_session(session);
    *done = true;
  }(store(), session_, ended));
  EXPECT_FALSE(*ended);
  store().end();
  EXPECT_TRUE(*ended) << "who waits for a session's end does not wait for ever";
  EXPECT_TRUE(session_has_ended());
  engine_.store();
  EXPECT_EQ(listener_.take(), Strings{});
  EXPECT_TRUE(engine_.notes.empty());
  send("b");
  EXPECT_TRUE(engine_.appends.empty());
  std::vector<BusNews> news(1);
  news[0].user = UserId("ann");
  store().receive(std::move(news));
  EXPECT_TRUE(listener_.told.empty());
  store().tick();
  EXPECT_FALSE(block_on(store().redo(0, 1)).ok());
}

TEST_F(SharedStoreTest, TheEndEndsPauses) {
  send("a");
  engine_.answer_append(Error(ErrorCode::Timeout));
  store_.reset();
  EXPECT_TRUE(engine_.appends.empty());
}

TEST_F(SharedStoreTest, TheEndWaitsForACallOfTheListener) {
  std::atomic<bool> inside{false};
  std::atomic<bool> leave{false};
  std::atomic<bool> ended{false};
  listener_.during = [&] {
    inside = true;
    while (!leave) std::this_thread::yield();
  };
  send("a");
  std::thread answering([&] { engine_.store(); });
  while (!inside) std::this_thread::yield();
  std::thread ending([&] {
    store().end();
    ended = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_FALSE(ended);
  leave = true;
  answering.join();
  ending.join();
}

// -- notes

TEST_F(SharedStoreTest, WhoeverIsConcernedIsToldAndThenItIsDueNoMore) {
  send("a");
  engine_.store();
  ASSERT_EQ(engine_.notes.front().first.size(), 2U);
  engine_.answer_note();
  ASSERT_EQ(listener_.told.size(), 2U);
  EXPECT_EQ(listener_.told[0].senders, std::vector<std::uint64_t>{kConnection});
  EXPECT_EQ(bus_.sent.size(), 2U);
  send("b");
  ASSERT_EQ(engine_.appends.front().first.noted.size(), 1U);
  EXPECT_EQ(engine_.appends.front().first.noted[0].seq, MessageSeq(1));
  EXPECT_EQ(engine_.appends.front().first.noted[0].generation, 3U);
  engine_.answer_append(Error(ErrorCode::StoreUnavailable));
  send("b");
  EXPECT_EQ(engine_.appends.front().first.noted.size(), 1U) << "a refused append has cleared nothing";
  engine_.answer_append(Error(ErrorCode::StoreUnavailable));
  pass(Milliseconds(1'001));
  ASSERT_EQ(engine_.cleared.size(), 1U) << "without another append too";
}

TEST_F(SharedStoreTest, WhatConcernsNobodysInboxIsDueNoMore) {
  AppendRequest one = request("a");
  one.message = Message::create({"nobodys", "ann", "a", {}, "{}"});
  send(std::move(one));
  engine_.store();
  EXPECT_TRUE(engine_.notes.empty());
  pass(Milliseconds(1'001));
  ASSERT_EQ(engine_.cleared.size(), 1U);
  EXPECT_EQ(engine_.cleared[0].generation, kAnyGeneration);
}

TEST_F(SharedStoreTest, AUserWhoseRowsFailDoesNotKeepTheOther) {
  send("a");
  engine_.store();
  engine_.answer_note({{"bob", ErrorCode::StoreUnavailable}});
  ASSERT_EQ(listener_.told.size(), 1U);
  EXPECT_EQ(listener_.told[0].user, "ann");
  EXPECT_EQ(bus_.sent.size(), 1U);
  EXPECT_TRUE(engine_.notes.empty()) << "a pause";
  pass(Milliseconds(10));
  ASSERT_EQ(engine_.notes.size(), 1U);
  ASSERT_EQ(engine_.notes.front().first.size(), 1U);
  EXPECT_EQ(engine_.notes.front().first[0].user, UserId("bob"));
  engine_.answer_note();
  ASSERT_EQ(listener_.told.size(), 2U);
  EXPECT_EQ(listener_.told[1].seqs, std::vector<std::uint64_t>{1});
  pass(Milliseconds(1'001));
  EXPECT_EQ(engine_.cleared.size(), 1U);
}

TEST_F(SharedStoreTest, ANoteThatFailsForLongIsLeftToTheRedo) {
  options_.note_attempts = 4;
  send("a");
  engine_.store();
  int attempts = 0;
  for (int ms = 0; ms < 5'000; ++ms) {
    if (!engine_.notes.empty()) {
      ++attempts;
      engine_.answer_note({{"bob", ErrorCode::Timeout}});
    }
    pass(Milliseconds(1));
  }
  EXPECT_EQ(attempts, 4);
  EXPECT_TRUE(engine_.cleared.empty()) << "it is due";
  send("b");
  engine_.store();
  EXPECT_EQ(engine_.notes.size(), 1U) << "the bucket goes on";
}

TEST_F(SharedStoreTest, AfterANoteThatWasLeftOpenWhoeverItAddsNothingToIsToldHowFarHisInboxGoes) {
  send("a");
  engine_.store();
  engine_.answer_note({{"bob", ErrorCode::Timeout}});
  pass(Milliseconds(10));
  engine_.answer_note({}, false);
  ASSERT_EQ(listener_.told.size(), 2U);
  EXPECT_EQ(listener_.told[1].user, "bob");
  EXPECT_TRUE(listener_.told[1].has_range);
  EXPECT_TRUE(listener_.told[1].seqs.empty());
}

TEST_F(SharedStoreTest, WithoutADirectoryThoseHereAreToldAndTheRestStaysDue) {
  directory_.fails = true;
  send("a");
  engine_.store();
  engine_.answer_note();
  EXPECT_EQ(listener_.told.size(), 2U);
  EXPECT_TRUE(bus_.sent.empty());
  pass(Milliseconds(2'000));
  EXPECT_TRUE(engine_.cleared.empty());
}

TEST_F(SharedStoreTest, WhatComesFromOtherNodesIsTold) {
  std::vector<BusNews> news(2);
  news[0].user = UserId("ann");
  news[0].records.push_back(request("a").message);
  news[1].user = UserId("bob");
  news[1].has_range = false;
  store().receive(std::move(news));
  ASSERT_EQ(listener_.told.size(), 2U);
  EXPECT_EQ(listener_.told[0].senders, std::vector<std::uint64_t>{0});
  EXPECT_FALSE(listener_.told[1].has_range);
}

// -- redo

TEST_F(SharedStoreTest, ARedoGoesOnBehindWhatFailsAndComesToAll) {
  options_.buckets = 3;
  engine_.notes_at_once = true;
  engine_.due_fails = {0};
  for (int i = 0; i < 600; ++i) engine_.rows[1][private_conversation("ann", "peer" + std::to_string(i))] = MessageSeq(1);
  engine_.rows[2][private_conversation("ann", "bob")] = MessageSeq(4);
  const Status redone = block_on(store().redo(0, 3));
  ASSERT_FALSE(redone.ok());
  EXPECT_EQ(redone.error().code(), ErrorCode::Timeout);
  EXPECT_EQ(engine_.cleared.size(), 601U);
  EXPECT_EQ(engine_.due_reads[1], 3);
  EXPECT_EQ(listener_.told.size(), 1'202U);
  for (const Listener::Told& one : listener_.told) EXPECT_TRUE(one.has_range && one.seqs.empty());
}

// A user whose rows are away is in the first page each time.
TEST_F(SharedStoreTest, ARedoComesToThosePagesBehindAPageThatFails) {
  for (int i = 0; i < 300; ++i) engine_.rows[0][private_conversation("ann", "peer" + std::to_string(i))] = MessageSeq(1);
  spawn([](SharedStore& of) -> Task<void> { ignore(co_await of.redo(0, 1)); }(store()));
  engine_.answer_note({{"ann", ErrorCode::StoreUnavailable}});
  ASSERT_EQ(engine_.notes.size(), 1U);
  engine_.answer_note();
  EXPECT_EQ(engine_.cleared.size(), 44U);
  EXPECT_EQ(engine_.rows[0].size(), 256U);
}

TEST_F(SharedStoreTest, ABucketWhoseRedoFailsIsLeftAloneForLongerAndLonger) {
  engine_.due_fails = {0};
  std::vector<int> at;
  for (int second = 0; second < 600; ++second) {
    const int before = engine_.due_reads[0];
    ignore(block_on(store().redo(0, 1)));
    if (engine_.due_reads[0] > before) at.push_back(second);
    clock_.advance(Milliseconds(1'000));
  }
  ASSERT_GE(at.size(), 8U);
  EXPECT_EQ(at[1] - at[0], 1);
  EXPECT_EQ(at[2] - at[1], 2);
  EXPECT_EQ(at.back() - at[at.size() - 2], 60);
  engine_.due_fails.clear();
  clock_.advance(Milliseconds(60'000));
  EXPECT_TRUE(block_on(store().redo(0, 1)).ok());
  engine_.due_fails = {0};
  EXPECT_FALSE(block_on(store().redo(0, 1)).ok()) << "after a success it goes on at once";
}

}  // namespace
}  // namespace dunlin::shared

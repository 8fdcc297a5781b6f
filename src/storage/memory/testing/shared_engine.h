#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string_view>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/thread_annotations.h"
#include "messaging/ports/device_states.h"
#include "storage/memory/testing/shared_rows.h"
#include "storage/shared/engine.h"

namespace dunlin {

struct SharedEngineOptions {
  const Clock* clock = nullptr;
  Durability durability = Durability::Fsync;  // what it claims
  std::uint64_t seed = 1;
  // With threads, calls are done and completed by so many, in any order; without, inside the call, or with a delay by pump().
  int threads = 0;
  Milliseconds delay{0};  // at most, of each call
  double refused = 0;     // share of calls that fail with StoreUnavailable, without effect
  double unanswered = 0;  // of writes that fail with Timeout, with effect
  double lost = 0;        // of writes that fail with Timeout, without
  // No note is left open. After such a one users are told how far their inbox goes, which tells a suite of no position.
  bool notes_are_answered = false;
  double repeated = 0;      // of appends and notes that are done once more, later; or for the first time, when they were lost
  bool knows_trims = true;  // what trimmed_through() says; else 0, as one that would have to ask
  std::chrono::hours ids_for{24};
};

// The engine that nodes of a shared store share, in memory: SharedRows, with the faults of one that is far away. Outlives all Connections.
// With a delay nothing happens before pump(), which one thread calls after it moved the clock; then calls overtake each other as the seed
// wants. Any thread; one mutex, a leaf.
class SharedEngine {
 public:
  explicit SharedEngine(SharedEngineOptions options);
  ~SharedEngine() { stop(); }
  // Ends its threads, when they have nothing to do any more: before that goes which their coroutines use.
  void stop();

  // One node's way to it.
  class Connection;
  std::unique_ptr<Connection> connect();

  void refuse_appends(bool refuse) { refusing_.store(refuse); }
  void set_faults(double refused, double unanswered, double lost, double repeated);
  void trim();
  void lose_tails(std::uint64_t most);
  void stand_at(InboxPosition position);
  void on_stored(std::function<void(const Message&)> run);
  InboxPosition newest(const UserId& user) const;
  InboxPosition highest_given(const UserId& user) const;
  MessageSeq seq_at(const UserId& user, const ConversationId& conversation, InboxPosition position) const;
  MessageSeq first_readable(const ConversationId& conversation) const;
  bool any_due() const;
  Epoch epoch() const { return Epoch{epoch_.load(std::memory_order_acquire)}; }

  // Does what is due by the clock; false: nothing was.
  bool pump();
  // The next call alone, due or not.
  bool pump_one();
  std::optional<MonotonicTime> next_due() const;

 private:
  // `fate` decides what becomes of the call: done and answered, or one of the faults.
  enum class Fate : std::uint8_t { Answered, Refused, Unanswered, Lost };
  struct Job {
    MonotonicTime due{};
    std::uint64_t connection = 0;
    std::function<void(bool cut)> run;
  };

  // A write may be left open; unless it says itself which of its parts are.
  enum class Kind : std::uint8_t { Read, Write, AnsweredWrite };
  template <class T, class F>
  Task<Result<T>> call(std::uint64_t connection, Kind kind, F work);
  // Nobody waits for it, whoever has sent it.
  template <class F>
  void do_late(F work);
  void enqueue(Job job) EXCLUDES(mutex_);
  std::vector<Job> take_due(bool all_of_one, std::uint64_t connection) EXCLUDES(mutex_);
  void work();
  Fate draw(bool writes) REQUIRES(mutex_);
  bool chance(double share) REQUIRES(mutex_);

  const SharedEngineOptions options_;
  std::atomic<std::uint64_t> epoch_;
  std::atomic<bool> refusing_{false};
  mutable Mutex mutex_;
  SharedRows rows_ GUARDED_BY(mutex_);
  std::mt19937_64 random_ GUARDED_BY(mutex_);
  double refused_ GUARDED_BY(mutex_);
  double unanswered_ GUARDED_BY(mutex_);
  double lost_ GUARDED_BY(mutex_);
  double repeated_ GUARDED_BY(mutex_);
  std::vector<Job> jobs_ GUARDED_BY(mutex_);
  std::set<std::uint64_t> gone_ GUARDED_BY(mutex_);  // connections that are cut
  std::uint64_t connections_ GUARDED_BY(mutex_) = 0;
  bool stopping_ GUARDED_BY(mutex_) = false;
  CondVar changed_;
  std::vector<std::thread> threads_;
};

class SharedEngine::Connection final : public shared::Engine {
 public:
  Connection(SharedEngine& engine, std::uint64_t number) : engine_(engine), number_(number) {}
  ~Connection() override { cut(); }
  // The node is gone: what it has under way is done or not, and never answered.
  void cut();

  Task<Result<std::vector<shared::Appended>>> append(shared::Append batch) override;
  Task<std::vector<Result<shared::Noted>>> note(std::vector<shared::Note> notes) override;
  Task<Result<std::vector<shared::Due>>> due(std::uint32_t bucket, Milliseconds at_least, ConversationId after, std::size_t limit) override;
  Task<Status> clear_due(std::uint32_t bucket, std::vector<shared::Due> noted) override;
  Epoch epoch() const override { return engine_.epoch(); }
  Task<Result<bool>> renew_epoch(Epoch ended) override;
  Durability durability() const override { return engine_.options_.durability; }
  Task<Result<ConversationHead>> head(ConversationId conversation) override;
  Task<Result<std::vector<RangePage>>> ranges(std::vector<RangeQuery> queries) override;
  Task<Result<std::vector<TimelineEnd>>> ends(std::vector<ConversationId> conversations, std::size_t max_bytes) override;
  Task<Status> recall(ConversationId conversation, MessageSeq seq) override;
  Task<Result<InboxPosition>> newest(UserId user) override;
  Task<Result<NewsPage>> news_since(NewsQuery query) override;
  Task<Result<InboxPage>> newest_entries(UserId user, InboxPosition from, std::size_t limit) override;
  Task<Result<std::vector<MessageSeq>>> seqs_at(std::vector<SeqQuery> queries) override;
  Task<Result<ConversationsPage>> conversations(UserId user, ConversationId after, std::size_t limit) override;
  InboxPosition trimmed_through(std::string_view user) const override;
  Task<Result<InboxPosition>> highest_given(UserId user) override;

 private:
  SharedEngine& engine_;
  const std::uint64_t number_;
};

}  // namespace dunlin

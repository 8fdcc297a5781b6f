#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/thread_annotations.h"
#include "messaging/delivery/send_orders.h"
#include "messaging/ports/feed.h"
#include "messaging/ports/inboxes.h"
#include "messaging/ports/one_order.h"
#include "messaging/ports/read_raises.h"
#include "messaging/ports/timelines.h"
#include "metrics/server_metrics.h"
#include "runtime/completion.h"
#include "storage/memory/memory_timelines.h"

namespace dunlin {

struct MemoryStoreOptions {
  const Clock* clock = nullptr;
  ServerMetrics* metrics = nullptr;              // optional
  Durability durability = Durability::Memory;    // what it claims; tests of sessions want Fsync without a disk
  std::size_t max_bytes = std::size_t{1} << 30;  // of messages; beyond it the oldest tenth is trimmed
  std::size_t max_waiting_bytes = 64 << 20;      // of appends that wait (only with a delay); beyond it Overloaded
  std::chrono::hours dedup_for{24};

  // Faults, for tests. With a delay nothing completes before pump(); each append and read then waits a random time up to it, so those of
  // different conversations overtake each other. Decided by `seed` alone.
  std::uint64_t seed = 1;
  Milliseconds append_delay{0};
  Milliseconds read_delay{0};
  double append_failures = 0;  // share of appends refused with StoreUnavailable
  double read_failures = 0;    // share of reads that fail with StoreUnavailable
};

// A store of one order in memory: for tests, for trying things out, and as the plain statement of what a store must do. Nothing survives
// the process.
//
// Without a delay append() commits and tells the listener inside the call, under the commit lock (one listener call at a time), and reads
// answer at once. With a delay both wait for pump(), which a single thread calls after it moved the clock.
// Locks: commit_mutex_ (held while the listener runs), then mutex_ (the data; a leaf). Any thread.
class MemoryMessageStore : public Timelines, public Inboxes, public Feed {
 public:
  explicit MemoryMessageStore(MemoryStoreOptions options);
  ~MemoryMessageStore() override;

  Epoch epoch() const override { return Epoch{epoch_.load(std::memory_order_acquire)}; }
  Task<Result<bool>> renew_epoch(Epoch ended) override;
  Durability durability() const override { return options_.durability; }
  void set_listener(StoreListener* listener) override { listener_ = listener; }
  void begin_session(SessionKey session) override;
  Task<void> end_session(SessionKey session) override;
  void append(std::span<AppendRequest> requests) override;

  Task<Result<ConversationHead>> head(ConversationId conversation) override;
  std::optional<RangePage> range_in_memory(const RangeQuery& query) override;
  Task<Result<std::vector<TimelineEnd>>> ends(std::vector<ConversationId> conversations, std::size_t max_bytes) override;
  Task<Result<std::vector<RangePage>>> ranges(std::vector<RangeQuery> queries) override;
  Task<Status> recall(ConversationId conversation, MessageSeq seq) override;
  StoreHealth health() const override;

  Task<Result<InboxEnd>> newest(UserId user) override;
  Task<Result<NewsPage>> news_since(NewsQuery query) override;
  Task<Result<InboxPage>> newest_entries(UserId user, InboxPosition from, std::size_t limit) override;
  Task<Result<std::vector<MessageSeq>>> seqs_at(std::vector<SeqQuery> queries) override;
  Task<Result<ConversationsPage>> conversations(UserId user, ConversationId after, std::size_t limit) override;
  std::optional<InboxPosition> quiet_through(std::string_view user, InboxPosition after) override;
  InboxPosition trimmed_through(std::string_view user) const override;
  std::uint64_t run() const override { return run_.id; }
  Task<Result<bool>> never_named(UserId user, InboxPosition position, std::uint64_t run) override;

  LogPosition feed_end() const override { return LogPosition(settled_.load(std::memory_order_acquire)); }
  Task<Result<FeedPage>> feed(LogPosition after, std::size_t max_messages) override;
  Task<Result<Follower>> register_follower(std::string name, LogPosition from) override;
  Task<Status> advance_follower(std::string name, LogPosition position) override;
  Task<Status> unregister_follower(std::string name) override;
  std::vector<Follower> followers() const override;

  ReadRaises& read_raises() { return read_raises_; }

  // -- for tests
  // Completes what is due by the clock; false: nothing was.
  bool pump();
  // When the next thing is due; nothing when nothing waits.
  std::optional<MonotonicTime> next_due() const;
  // Refuses appends with StoreUnavailable; health turns unwritable.
  void refuse_appends(bool refuse);
  void set_append_failures(double share);
  void set_read_failures(double share);
  // What retention does: everything at or below the position can no longer be read.
  void trim_through(LogPosition position);
  // What a copy of the data folder would hold.
  struct Copy;
  std::shared_ptr<const Copy> copy() const;
  // The process ends and another opens that copy: a new run. Whoever waits for an answer gets none, or an error.
  void put_back(const Copy& copy);
  // Of the newest record, and the newest that retention has taken.
  LogPosition last_position() const;
  LogPosition trimmed_position() const;
  // Of the newest record that this run found.
  LogPosition began_at() const { return run_.began_at; }
  // Rows that reads have looked at, as dunlin_store_rows_read_total counts them.
  std::uint64_t rows_read() const;

 private:
  struct Waiting {
    AppendRequest request;
    MonotonicTime due;
    bool overloaded = false;  // to be refused, but not before the fate of the session's earlier sends is known
  };
  struct DedupEntry {
    MessageSeq seq;
    std::uint64_t digest = 0;
    std::uint64_t time_ms = 0;
  };
  struct WaitingRead {
    MonotonicTime due;
    Completer<bool> completer;
  };

  void commit(std::vector<Waiting> batch) REQUIRES(commit_mutex_) EXCLUDES(mutex_);
  AppendOutcome commit_one(Waiting& waiting) REQUIRES(commit_mutex_) EXCLUDES(mutex_);
  AppendOutcome store_one(AppendRequest& request) EXCLUDES(mutex_);
  void wait(AppendRequest request) REQUIRES(commit_mutex_) EXCLUDES(mutex_);
  std::vector<Waiting> take_due(MonotonicTime now) REQUIRES(commit_mutex_);
  std::vector<Completer<bool>> take_ended() REQUIRES(commit_mutex_);
  bool pump_appends();
  bool pump_reads();
  Follower marked(Follower follower) const REQUIRES(mutex_);
  bool append_fails() EXCLUDES(mutex_);
  void forget_old_ids(std::uint64_t now_ms) REQUIRES(mutex_);
  void keep_within_bounds() REQUIRES(mutex_);
  MonotonicTime random_due(Milliseconds at_most) REQUIRES(mutex_);
  Task<Status> begin_read();
  template <class F>
  auto read(F&& answer) EXCLUDES(mutex_);

  const MemoryStoreOptions options_;
  struct Run {
    std::uint64_t id = SipKey::random().low >> 16 | 1;
    LogPosition began_at;
  };
  Run run_;
  const SipKey dedup_key_;
  ReadRaises read_raises_{[this] { return InboxPosition(settled_.load(std::memory_order_acquire)); }};
  StoreListener* listener_ = nullptr;  // set before the first append
  std::atomic<std::uint64_t> epoch_;
  std::atomic<std::uint64_t> settled_{0};
  std::atomic<bool> refusing_{false};

  mutable Mutex commit_mutex_;
  SendOrders orders_ GUARDED_BY(commit_mutex_);
  std::deque<Waiting> waiting_ GUARDED_BY(commit_mutex_);  // in the order of append()
  std::size_t waiting_bytes_ GUARDED_BY(commit_mutex_) = 0;
  BatchNews news_ GUARDED_BY(commit_mutex_);
  std::vector<std::pair<SessionKey, Completer<bool>>> ending_ GUARDED_BY(commit_mutex_);

  mutable Mutex mutex_;
  MemoryTimelines timelines_ GUARDED_BY(mutex_);
  std::unordered_map<std::string, DedupEntry> dedup_ GUARDED_BY(mutex_);
  std::deque<std::pair<std::uint64_t, std::string>> dedup_order_ GUARDED_BY(mutex_);  // by time, for expiry
  std::map<std::string, Follower> followers_ GUARDED_BY(mutex_);
  std::vector<WaitingRead> reads_ GUARDED_BY(mutex_);
  std::mt19937_64 random_ GUARDED_BY(mutex_);
  double append_failures_ GUARDED_BY(mutex_);
  double read_failures_ GUARDED_BY(mutex_);
};

}  // namespace dunlin

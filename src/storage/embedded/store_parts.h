#pragma once

#include <atomic>
#include <memory>
#include <mutex>

#include "storage/embedded/data_lock.h"
#include "storage/embedded/embedded_store.h"
#include "storage/embedded/followers.h"
#include "storage/embedded/indexer.h"
#include "storage/embedded/log/committer.h"
#include "storage/embedded/log/kept_log.h"
#include "storage/embedded/log/recovery.h"
#include "storage/embedded/meta_file.h"
#include "storage/embedded/recall_rounds.h"
#include "storage/embedded/state/embedded_state_store.h"
#include "storage/embedded/timeline_reader.h"

namespace dunlin::embedded {

// EmbeddedStore put together. Members stand in the order in which they are opened; they are closed in the reverse one.
class StoreParts final : public EmbeddedStore {
 public:
  explicit StoreParts(EmbeddedOptions options);
  ~StoreParts() override;
  Status start();

  // Timelines
  Epoch epoch() const override { return Epoch{epoch_.load(std::memory_order_acquire)}; }
  Task<Result<bool>> renew_epoch(Epoch ended) override;
  Durability durability() const override { return options_.durability; }
  void set_listener(StoreListener* listener) override { committer_->set_listener(listener); }
  void begin_session(SessionKey session) override { intake_->begin_session(session); }
  Task<void> end_session(SessionKey session) override;
  void append(std::span<AppendRequest> requests) override;
  Task<Result<ConversationHead>> head(ConversationId conversation) override;
  std::optional<RangePage> range_in_memory(const RangeQuery& query) override;
  Task<Result<std::vector<TimelineEnd>>> ends(std::vector<ConversationId> conversations, std::size_t max_bytes) override;
  Task<Result<std::vector<RangePage>>> ranges(std::vector<RangeQuery> queries) override;
  Task<Status> recall(ConversationId conversation, MessageSeq seq) override;
  StoreHealth health() const override;

  // Inboxes
  Task<Result<InboxEnd>> newest(UserId user) override;
  Task<Result<NewsPage>> news_since(NewsQuery query) override;
  Task<Result<InboxPage>> newest_entries(UserId user, InboxPosition from, std::size_t limit) override;
  Task<Result<std::vector<MessageSeq>>> seqs_at(std::vector<SeqQuery> queries) override;
  Task<Result<ConversationsPage>> conversations(UserId user, ConversationId after, std::size_t limit) override;
  std::optional<InboxPosition> quiet_through(std::string_view user, InboxPosition after) override;
  InboxPosition trimmed_through(std::string_view) const override { return to_inbox(history_->trimmed_through()); }
  std::uint64_t run() const override { return run_.id; }
  Task<Result<bool>> never_named(UserId user, InboxPosition position, std::uint64_t run) override;

  // Feed
  LogPosition feed_end() const override { return committer_->settled(); }
  Task<Result<FeedPage>> feed(LogPosition after, std::size_t max_messages) override;
  Task<Result<Follower>> register_follower(std::string name, LogPosition from) override;
  Task<Status> advance_follower(std::string name, LogPosition position) override;
  Task<Status> unregister_follower(std::string name) override;
  std::vector<Follower> followers() const override { return followers_->all(); }

  // EmbeddedStore
  void close() override;
  const RecoveryReport& recovery() const override { return report_; }
  LogStats log_stats() const override;
  History::Stats history_stats() const override { return history_->stats(); }
  std::uint64_t rows_read() const override { return disk_rows_read() + reader_->rows_read(); }
  std::uint64_t disk_rows_read() const override { return history_->stats().rows_read + state_->rows_read(); }
  DeviceStates& state() override { return *state_; }
  Status flush_to_history(std::chrono::milliseconds deadline) override;
  Status backup_to(const std::string& folder, const std::function<bool(const BackupProgress&)>& progress) override;

 private:
  Status open_meta();
  Status open_history();
  Status recover();
  void lower_read_positions();
  void start_threads();
  bool lags_behind_what_was_told(LogPosition last) const;
  Result<bool> renew_now(Epoch ended);
  Result<InboxPosition> newest_now(const UserId& user, LogPosition settled);
  Status recall_now(const ConversationId& conversation, MessageSeq seq);
  Status copy_log(const std::string& folder, const std::function<bool(const BackupProgress&)>& progress);
  void wait_for_reads();
  // Runs `fn` (returning Result<T>) on the offload pool, counted so that close() can wait for it. Not a coroutine itself: gcc 12 destroys
  // twice what a closure captured when it is a temporary inside a co_await.
  template <class F>
  auto on_disk(F fn) {
    reads_.fetch_add(1, std::memory_order_relaxed);
    std::shared_ptr<void> guard(nullptr, [this](void*) { reads_.fetch_sub(1, std::memory_order_release); });
    return offload(*options_.offload, [fn = std::move(fn), guard = std::move(guard)]() mutable { return fn(); });
  }
  template <class T>
  static Task<Result<T>> ready(T value) {
    co_return Result<T>(std::move(value));
  }

  // One opening of the store, as sync_tokens tell it apart from others.
  struct Run {
    std::uint64_t id = 0;  // below 2^48, not 0, random
    LogPosition began_at;  // of the newest record that it found; positions that an earlier run has told are at or below it
  };

  EmbeddedOptions options_;
  SystemClock system_clock_;
  FileSystem* files_;
  std::optional<DataLock> lock_;
  Meta meta_;
  std::atomic<std::uint64_t> epoch_{0};  // meta_'s, once it is on the disk
  Run run_;                              // constant once it is open
  bool fresh_ = false;
  RecoveryReport report_;
  std::unique_ptr<History> history_;
  ReadRaises read_raises_{[this] { return to_inbox(committer_->settled()); }};
  std::unique_ptr<EmbeddedStateStore> state_;
  std::unique_ptr<SegmentPool> pool_;
  std::unique_ptr<Conversations> conversations_;
  SendingSessions sessions_;
  CommitQueue queue_;
  std::unique_ptr<Window> window_;
  std::unique_ptr<Intake> intake_;
  std::unique_ptr<LogWriter> writer_;
  std::unique_ptr<Followers> followers_;
  std::unique_ptr<KeptLog> kept_;
  std::unique_ptr<Recalls> recalls_;
  std::unique_ptr<TimelineReader> reader_;
  std::unique_ptr<Committer> committer_;
  std::unique_ptr<RecallRounds> recall_rounds_;
  std::unique_ptr<Indexer> indexer_;
  std::vector<std::string> unused_files_;  // segments of which nothing is news, until the indexer is there

  std::atomic<bool> closing_{false};
  std::atomic<std::uint64_t> reads_{0};
  bool closed_ = false;
  std::mutex backup_mutex_;
};

}  // namespace dunlin::embedded

#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/thread_annotations.h"
#include "storage/embedded/history/catalog.h"
#include "storage/embedded/history/damage.h"
#include "storage/embedded/history/eraser.h"
#include "storage/embedded/history/history.h"
#include "storage/embedded/history/manifest_guard.h"
#include "storage/embedded/history/reading.h"

namespace dunlin::embedded {

class SortedFile;
class SortedFiles;
class SortedSegment;

// History over one RocksDB instance without write-ahead log. open.cc opens, ingest.cc and retention.cc write (indexer thread), read_*.cc
// read.
//
// The writer builds a new Catalog and publishes it after RocksDB has taken the change; a read takes the catalog once and sees exactly
// what that names, whatever the writer does meanwhile.
class RocksHistory final : public History {
 public:
  enum class Access : std::uint8_t { Write, ReadOnly };  // ReadOnly: beside a running server, for verify
  static Result<std::unique_ptr<RocksHistory>> open(HistoryOptions options, Access access);
  ~RocksHistory() override;

  LogPosition position() const override { return catalog()->newest.position; }
  std::uint64_t last_conversation_number() const override { return catalog()->newest.last_number; }
  LogPosition trimmed_through() const override { return LogPosition(trimmed_.load(std::memory_order_acquire)); }
  Status ingest(const SealedSegment& segment) override;
  Status retain(WallTime now) override;
  // erase.cc
  Status begin_erase(std::vector<RecalledRecord> records) override;
  std::optional<Status> erase_done() override;
  std::vector<RecalledRecord> not_erased() const override { return not_erased_; }

  Result<std::optional<ConversationHead>> head(const ConversationId& conversation) override;
  Result<std::optional<DedupEntry>> dedup(const DedupKey& key) override;
  void dedup(std::span<DedupLookup> lookups) override;
  Result<RangePage> range(const ConversationHead& head, const RangeQuery& query) override;
  Result<MessageSeq> seq_at(const ConversationHead& head, LogPosition position) override;
  Result<ActivityPage> activity_since(const UserId& user, LogPosition after, std::size_t limit) override;
  Result<ActivityPage> activity_newest(const UserId& user, LogPosition from, std::size_t limit) override;
  Result<ConversationsPage> conversations(const UserId& user, const ConversationId& after, std::size_t limit) override;
  Result<FeedPage> feed(LogPosition after, std::size_t max_messages) override;  // feed.cc

  std::unique_ptr<HistoryRead> begin_read() override;
  // The same reads, within one Reading.
  Result<std::optional<ConversationHead>> head(Reading& now, const ConversationId& conversation);
  Result<RangePage> range(Reading& now, const ConversationHead& head, const RangeQuery& query, LogPosition newer_than);
  Result<MessageSeq> seq_at(Reading& now, const ConversationHead& head, LogPosition position);
  Result<ActivityPage> activity_since(Reading& now, const UserId& user, LogPosition after, std::size_t limit);

  Status checkpoint(const std::string& folder) override;
  Stats stats() const override;

  CatalogPtr catalog() const EXCLUDES(catalog_mutex_);
  Damage& damage() { return damage_; }
  std::atomic<std::uint64_t>& rows_read() { return rows_read_; }
  rocksdb::DB& db() { return *db_; }

 private:
  struct DbCloser {
    void operator()(rocksdb::DB* db) const;
  };
  struct MetaRow {
    std::string key;
    std::optional<std::string> value;  // nothing: removed
  };

  explicit RocksHistory(HistoryOptions options);
  // open.cc
  Status open_db(Access access);
  Status load_catalog(std::vector<ColumnPtr> columns);
  Status clear_incoming();
  // ingest.cc
  Status prepare_write();
  void let_files_go();
  Result<Catalog> with_room_for(const SealedSegment& segment, const SortedSegment& sorted);
  Result<ColumnPtr> create_column(const std::string& name);
  Status write_files(const SortedSegment& sorted, const SealedSegment& segment, const Catalog& next, SortedFiles& files);
  Status ingest_files(const SortedFiles& files);
  Status ingest_meta(const Catalog& next, std::vector<MetaRow> rows);
  std::string incoming_folder() const { return options_.path + "/incoming"; }
  void publish(Catalog next) EXCLUDES(catalog_mutex_);
  void fault_point(std::string_view point) const {
    if (options_.fault_point) options_.fault_point(point);
  }
  // erase.cc
  Status write_recalled_rows(const Catalog& catalog, Eraser::Part& part, SortedFile& file);
  // retention.cc
  bool clock_trusted(WallTime now);
  std::size_t volumes_to_drop(const Catalog& catalog, WallTime now) const;
  Status drop_volumes(std::size_t count);
  Status drop_generations(WallTime now);
  void drop_column(ColumnPtr& column);
  // read_timeline.cc
  Result<std::optional<ConversationHead>> stored_head(const Catalog& catalog, std::string_view conversation);
  Result<std::optional<ConversationHead>> head_within(Reading& now, const ConversationHead& head, std::string_view conversation);
  MessageSeq first_readable(Reading& now, const ConversationHead& stored);

  HistoryOptions options_;
  std::shared_ptr<rocksdb::Cache> cache_;
  Damage damage_;
  ManifestGuard manifest_;
  std::unique_ptr<rocksdb::DB, DbCloser> db_;
  std::vector<ColumnPtr> spare_;  // created for a volume whose ingest failed, or left by a drop that was cut; indexer thread
  std::set<std::string> lost_;    // families that exist although creating them failed: there is no handle to them before the next start
  // Indexer thread.
  std::unique_ptr<Eraser> eraser_;          // from begin_erase() until its status has been given
  std::vector<RecalledRecord> not_erased_;  // by the last one
  std::size_t told_not_erased_ = 0;
  // Clock guard, indexer thread.
  MonotonicTime opened_monotonic_{};
  WallTime opened_wall_{};
  std::atomic<bool> clock_alarm_{false};  // stats() reads it

  std::atomic<std::uint64_t> trimmed_{0};  // never behind the catalog

  mutable Mutex catalog_mutex_;
  CatalogPtr catalog_ GUARDED_BY(catalog_mutex_);
  std::atomic<std::uint64_t> rows_read_{0};
};

}  // namespace dunlin::embedded

#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <optional>
#include <shared_mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/thread_annotations.h"
#include "storage/embedded/history/rocks.h"
#include "storage/embedded/state/embedded_state_store.h"
#include "storage/embedded/state/state_rows.h"

namespace rocksdb {
class WriteBatch;
}

namespace dunlin::embedded {

// The blocking side of EmbeddedStateStore: runs on the offload pool's threads, any number at a time; device_in_memory() on any thread.
//
// Raising a read position reads the row and writes it back; all rows of one conversation are changed under one of kStripes locks,
// chosen by the conversation, so that two raises never cross. A stripe is taken before turn_, that before instance_. Likewise cursors_: a
// cursor that is renewed from the log crosses no save and no forgetting.
//
// A write-ahead log that met an error (a full disk) takes no more writes. Reads go on with the instance as it is; the next write first
// looks whether the folder can be written again, and then opens the instance anew: every confirmed row stands in the log.
class RocksState {
 public:
  static Result<std::unique_ptr<RocksState>> open(const StateOptions& options);
  ~RocksState();

  Result<std::vector<DeviceRow>> devices(const UserId& user);
  Result<std::vector<std::vector<DeviceRow>>> devices_of(std::span<const UserId> users);
  // Waits for nothing, not even for an instance that is opened anew: then it is not known.
  DeviceStates::InMemory device_in_memory(const UserId& user, const DeviceId& device);
  // Of orders that ascend from `order`.
  Status save_cursors(const std::vector<DeviceStates::CursorWrite>& writes, std::uint64_t order);
  // Each replaces its device's row if that is older, and of `epoch` if one is given. Makes no row: a device that was forgotten stays so,
  // with a row or without. One whose row cannot be read is left. The number of rows written.
  Result<std::size_t> renew_cursors(std::span<const RidingCursor> cursors, std::optional<Epoch> epoch);
  Status forget_device(const UserId& user, const DeviceId& device);
  // `at`: the stamp, of the reader and of each watcher.
  Result<MessageSeq> raise_read(const ReadRaise& raise, InboxPosition at);
  Result<std::vector<MessageSeq>> read_positions(const std::vector<ReadKey>& keys);
  Result<ReadChangePage> read_changes_since(const UserId& user, InboxPosition since, std::size_t limit);

  Result<std::vector<RecallRow>> recalls();
  Status add_recall(const RecallRow& row);
  Status remove_recalls(std::span<const RecallRow> rows, bool durable);

  InboxPosition highest_cursor(Epoch epoch) EXCLUDES(mark_mutex_);
  Result<std::uint64_t> lower_read_positions(InboxPosition last, const EmbeddedStateStore::HeadOf& head);
  std::uint64_t rows_read() const { return rows_read_.load(std::memory_order_relaxed); }
  Status sync();
  Status checkpoint(const std::string& folder);

 private:
  static constexpr std::size_t kStripes = 64;
  class Listener;
  struct DbCloser {
    void operator()(rocksdb::DB* db) const;
  };

  explicit RocksState(StateOptions options);
  static Error damaged(const std::string& path, std::string_view what);
  Status open_instance();  // with instance_ held exclusively, or before anyone else can see this
  Status reopen_if_stopped();
  std::shared_lock<std::shared_mutex> in_use();
  void load_mark() EXCLUDES(mark_mutex_);
  std::optional<CursorMark> raised_mark(const std::vector<DeviceStates::CursorWrite>& writes) EXCLUDES(mark_mutex_);
  Result<std::optional<ReadRow>> read_row(const std::string& key);
  Status add_change(const UserId& user, const ReadRaise& raise, InboxPosition at, std::optional<MessageSeq> seq,
                    rocksdb::WriteBatch& batch);
  Status write(rocksdb::WriteBatch& batch, bool durable = false);
  Mutex& stripe_of(const ConversationId& conversation);
  void count_row() { rows_read_.fetch_add(1, std::memory_order_relaxed); }

  const StateOptions options_;
  const std::shared_ptr<rocksdb::Cache> cache_;
  const std::unique_ptr<rocksdb::Env> env_;
  std::atomic<std::uint64_t> rows_read_{0};
  std::atomic<bool> stopped_{false};  // the instance takes no writes any more
  std::array<Mutex, kStripes> stripes_;
  Mutex cursors_;
  Mutex mark_mutex_;
  CursorMark mark_ GUARDED_BY(mark_mutex_);  // at least what is stored
  // Shared by every use of db_, exclusive to replace it. Null only while and after a reopening failed.
  // Whoever wants instance_ passes turn_ first, and holds it to replace db_: else calls that overlap would keep it for ever.
  Mutex turn_;
  std::shared_mutex instance_;
  std::unique_ptr<rocksdb::DB, DbCloser> db_;
};

}  // namespace dunlin::embedded

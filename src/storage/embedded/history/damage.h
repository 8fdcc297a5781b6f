#pragma once

#include <atomic>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/thread_annotations.h"
#include "storage/embedded/history/catalog.h"

namespace dunlin::embedded {

// What is known to be damaged, and the containment of it: a family with a damaged file is kept out of compaction (one bad block would
// otherwise fail each compaction and, with it, every later ingest), and the indexer turns to a new volume. Found where it is read,
// or by a compaction, which RocksDB reports on a thread of its own through listener(). Any thread.
class Damage {
 public:
  Damage();
  ~Damage();

  std::shared_ptr<rocksdb::EventListener> listener() const;

  // A read of `column` failed with damage: contain it, log it once for each file.
  void found(Column& column, const rocksdb::Status& status);
  void row_found(Column& column, std::string_view what);
  // Messages that no file gives any more: logged for operators, at most kLoggedRows lines in the life of the process.
  void rows_lost(const ConversationId& conversation, const SeqGap& seqs);
  // Families in which a compaction met damage since the last call.
  std::vector<std::string> take_failed_columns();
  // Entries of the manifest that failed since the last call: for each of them RocksDB holds back the deletion of files.
  int take_manifest_failures();
  // RocksDB stopped all writes because of another error.
  bool is_stopped() const;

  std::uint64_t files() const;

 private:
  static constexpr std::uint32_t kLoggedRows = 1000;
  class Listener;
  void compaction_failed(const std::string& column, const rocksdb::Status& status);
  void manifest_failed(const rocksdb::Status& status);
  void stopped(const rocksdb::Status& status);
  bool note_file(const std::string& name);

  mutable Mutex mutex_;
  std::set<std::string> files_ GUARDED_BY(mutex_);
  std::set<std::string> failed_columns_ GUARDED_BY(mutex_);
  int manifest_failures_ GUARDED_BY(mutex_) = 0;
  bool stopped_ GUARDED_BY(mutex_) = false;
  std::atomic<std::uint32_t> logged_rows_{0};
  std::shared_ptr<Listener> listener_;
};

}  // namespace dunlin::embedded

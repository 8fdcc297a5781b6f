#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/thread_annotations.h"
#include "storage/embedded/history/catalog.h"
#include "storage/embedded/history/damage.h"

namespace dunlin::embedded {

// Takes the old rows of recalled messages out of the files, once rows without content stand above them: compacts each family of which some
// file still holds content, and waits until the files that were there before are off the disk. RocksDB compacts on its own thread, at the
// priority of compactions; the thread of this one nearly only waits, and ends with the work.
//
// What is found out, not assumed: a family is compacted only if a file holds content, and looked at again afterwards. A compaction keeps a
// row that some snapshot still sees, so those from before the rows without content are waited for; an open read holds one.
// Made by the indexer; no longer than the instance. The destructor cancels what runs, and returns when RocksDB has let go.
class Eraser {
 public:
  struct Part {
    ColumnPtr timeline;
    std::vector<RecalledRecord> records;  // in key order, at least one
  };
  struct Outcome {
    Status status;
    std::vector<RecalledRecord> kept;  // in damaged families
  };
  struct Context {
    rocksdb::DB* db = nullptr;
    std::string folder;  // where the files are
    Damage* damage = nullptr;
    std::function<bool(const Column&)> in_use;  // whether the family is still part of history
    std::function<void(std::string_view point)> fault_point;
  };

  Eraser(Context context, std::vector<Part> parts);
  ~Eraser();
  Eraser(const Eraser&) = delete;
  Eraser& operator=(const Eraser&) = delete;

  // Nothing while it runs.
  std::optional<Outcome> outcome() const EXCLUDES(mutex_);

 private:
  void run();
  Status erase(std::vector<Part> parts);
  Status erase(const Part& part);
  Status compact(const Part& part);
  Result<bool> holds_content(const Part& part) const;
  Status wait_until(std::string_view what, const std::function<bool()>& reached) EXCLUDES(mutex_);
  bool old_views_are_gone() const;
  bool old_files_are_gone() const;
  std::optional<std::set<std::string>> files_on_disk() const;

  const Context context_;
  std::vector<Part> parts_;
  std::vector<RecalledRecord> kept_;
  const std::uint64_t sequence_;                          // rows without content are at or below it
  const std::optional<std::set<std::string>> old_files_;  // of all families
  std::atomic<bool> cancelled_{false};

  mutable Mutex mutex_;
  CondVar wake_;
  std::optional<Outcome> outcome_ GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace dunlin::embedded

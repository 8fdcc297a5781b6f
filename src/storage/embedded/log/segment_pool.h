#pragma once

#include <atomic>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/thread_annotations.h"
#include "storage/embedded/file/file_system.h"

namespace dunlin::embedded {

// A segment file that the log may write: of full size, every block of it on the disk (zeros, or an earlier life's bytes).
struct SegmentSlot {
  std::string name;
  std::unique_ptr<File> file;
};

// The files of the log folder that hold nothing of the log. Two are kept ready (part of the reserve for a full disk), so that the
// committer does not wait for zeros to be written; the indexer gives files back and calls maintain().
// A file whose write or sync failed is *dirty*: it is written anew before it is used again, and while there is one nothing is
// recycled, because its void content is only void as long as the segments after it exist.
// A spare is *blank* when it was written anew and not used since; another one holds what an earlier life of it left. When recalled content
// has to leave the log (log_wipe.h), all files but the blank spares are *noted*: one of those that becomes free is written anew, or
// removed, before it is a spare. Names are p<partition>-<number>.seg and never change; which segment a file holds is told by its batches.
// Any thread.
class SegmentPool {
 public:
  static constexpr std::size_t kSpares = 2;

  SegmentPool(FileSystem& files, std::string folder, std::uint64_t segment_bytes)
      : fs_(files), folder_(std::move(folder)), segment_bytes_(segment_bytes) {}

  // A name in use at start, so that new files get others.
  void know(const std::string& name) EXCLUDES(mutex_);
  // A file that is free again. One that is not of full size is written anew first.
  void give(const std::string& name, bool full_size) EXCLUDES(mutex_);
  void give_dirty(const std::string& name) EXCLUDES(mutex_);
  bool has_dirty() const { return dirty_count_.load(std::memory_order_acquire) != 0; }

  // A spare, a blank one if possible; made on the spot when there is none.
  Result<SegmentSlot> take() EXCLUDES(mutex_);

  // Makes dirty files good, makes and removes spares. Blocks; indexer thread.
  Status maintain() EXCLUDES(mutex_);

  // Writes one spare anew that is not blank. False: there is none. Blocks; indexer thread.
  Result<bool> blank_one() EXCLUDES(mutex_);
  // Notes all files but the blank spares. False, and nothing is noted: there is a spare that is not blank. Nothing may be taken meanwhile.
  bool note_all() EXCLUDES(mutex_);
  std::vector<std::string> noted() const EXCLUDES(mutex_);
  // What it was noted for is not in it any more.
  void strike(const std::string& name) EXCLUDES(mutex_);

  // A new file without waiting for its zeros to be durable: the first sync of the log makes them so. At start only.
  Status make_first() EXCLUDES(mutex_);

  const std::string& folder() const { return folder_; }
  std::uint64_t segment_bytes() const { return segment_bytes_; }
  std::string path(const std::string& name) const { return folder_ + "/" + name; }

 private:
  Result<std::string> new_file(bool durable) EXCLUDES(mutex_);
  Status fill(const std::string& name, bool durable);
  Status remove(const std::string& name) EXCLUDES(mutex_);
  Status maintain_freed() EXCLUDES(mutex_);

  FileSystem& fs_;
  const std::string folder_;
  const std::uint64_t segment_bytes_;
  std::atomic<std::size_t> dirty_count_{0};
  mutable Mutex mutex_;
  struct Spare {
    std::string name;
    bool blank = false;
  };
  std::set<std::string> all_ GUARDED_BY(mutex_);  // names of files that may exist
  std::set<std::string> noted_ GUARDED_BY(mutex_);
  std::vector<std::string> freed_ GUARDED_BY(mutex_);  // noted, and nobody's any more
  std::vector<Spare> spares_ GUARDED_BY(mutex_);
  std::vector<std::string> dirty_ GUARDED_BY(mutex_);
  std::uint64_t last_number_ GUARDED_BY(mutex_) = 0;
};

}  // namespace dunlin::embedded

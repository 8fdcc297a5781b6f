#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/thread_annotations.h"
#include "messaging/ports/feed.h"
#include "storage/embedded/log/log_chain.h"
#include "storage/embedded/log/segment_pool.h"

namespace dunlin::embedded {

// A segment that history holds: its file, then those that hold no records of their own but through which it is found after a crash.
struct KeptSegment {
  std::vector<std::string> files;
  LogPosition first;
  LogPosition last;
};

// The segments that history holds and some follower does not have yet, oldest first, and reading the feed from them.
//
// A read takes no hold of a file: one that is recycled meanwhile has another generation, so that nothing in it is taken for a record of
// the segment. What cannot be read here, for that or for damage, the caller looks for in history. The segment that was read last stays in
// memory, one for all followers, until cool() finds it unused.
// The indexer adds and removes; any thread reads (blocking).
class KeptLog {
 public:
  KeptLog(FileSystem& files, const SegmentPool& pool, std::uint32_t secret) : fs_(files), pool_(pool), secret_(secret) {}

  void add(KeptSegment segment) EXCLUDES(mutex_);
  // Takes out what everybody has: the files of segments that end at or below the position, the oldest first.
  std::vector<std::string> take_passed(LogPosition passed) EXCLUDES(mutex_);
  // How far segments have to go so that what is left takes at most that many bytes; nothing when it does.
  std::optional<LogPosition> excess(std::uint64_t bytes) const EXCLUDES(mutex_);
  // Files of segments that hold something above the position.
  std::vector<std::string> files_above(LogPosition position) const EXCLUDES(mutex_);
  std::uint64_t bytes() const EXCLUDES(mutex_);
  // Whether all in (after, through] is here.
  bool covers(LogPosition after, LogPosition through) const EXCLUDES(mutex_);
  // Where the segment ends whose file this is; nothing when it is not kept.
  std::optional<LogPosition> end_of(const std::string& file) const EXCLUDES(mutex_);
  // The file was changed: what was read of it is not given any more.
  void changed(const std::string& file) EXCLUDES(mutex_);
  void cool() EXCLUDES(mutex_);

  // A page of one segment, of at least one position; nothing when the next record is not here or cannot be read.
  std::optional<FeedPage> read(LogPosition after, std::size_t max_messages) EXCLUDES(mutex_);

 private:
  struct Loaded {
    std::string file;
    LogPosition last;
    std::string bytes;
    SegmentIndex index;
  };
  using LoadedPtr = std::shared_ptr<const Loaded>;

  std::optional<KeptSegment> segment_behind(LogPosition after) const EXCLUDES(mutex_);
  LoadedPtr load(const KeptSegment& segment) EXCLUDES(mutex_);
  bool add_batch(const Loaded& from, const BatchHead& batch, LogPosition last, std::size_t max_messages, FeedPage& page) const;

  FileSystem& fs_;
  const SegmentPool& pool_;
  const std::uint32_t secret_;
  mutable Mutex mutex_;
  std::deque<KeptSegment> segments_ GUARDED_BY(mutex_);
  LoadedPtr loaded_ GUARDED_BY(mutex_);
  std::uint64_t changes_ GUARDED_BY(mutex_) = 0;  // calls of changed()
  bool used_ GUARDED_BY(mutex_) = false;          // since the last cool()
};

}  // namespace dunlin::embedded

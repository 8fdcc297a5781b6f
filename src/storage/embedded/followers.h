#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/thread_annotations.h"
#include "messaging/model/epoch.h"
#include "messaging/ports/feed.h"
#include "storage/embedded/file/file_system.h"

namespace dunlin::embedded {

// The registered followers of the log: at most kMaxFollowers rows in <data>/followers, replaced as a whole by rename (docs/storage.md).
// A change is on the disk before anyone sees it; one that could not be written has not happened. Positions of another epoch are
// marked reset at open. A damaged file is moved aside and logged: its followers register as new ones, which tells them.
// Owner: the store. Any thread; changes block (offload pool, indexer).
class Followers {
 public:
  static Result<std::unique_ptr<Followers>> open(FileSystem& files, std::string data_folder, Epoch epoch);
  // Corrupt when open() would move the file aside. Changes nothing.
  static Status check(FileSystem& files, const std::string& data_folder);

  Result<Follower> add(const std::string& name, LogPosition from) EXCLUDES(changing_, mutex_);
  Status advance(const std::string& name, LogPosition position, LogPosition settled) EXCLUDES(changing_, mutex_);
  Status remove(const std::string& name) EXCLUDES(changing_, mutex_);
  // Marks those reset that do not have everything up to `needed`; gives their names.
  Result<std::vector<std::string>> leave_behind(LogPosition needed) EXCLUDES(changing_, mutex_);

  // Another epoch has begun: marks all reset. What could not be written is so at the next open().
  Status begin_epoch(Epoch epoch) EXCLUDES(changing_, mutex_);

  std::vector<Follower> all() const EXCLUDES(mutex_);
  // The farthest of those that are not reset: the log has reached it in this epoch. 0 without any.
  LogPosition farthest() const EXCLUDES(mutex_);
  // What no follower needs any more: the lowest position of those that are not reset, the highest possible without any.
  LogPosition passed() const EXCLUDES(mutex_);

 private:
  using Rows = std::map<std::string, Follower, std::less<>>;

  Followers(FileSystem& files, std::string data_folder, Epoch epoch) : fs_(files), folder_(std::move(data_folder)), epoch_(epoch) {}
  Status load() EXCLUDES(changing_, mutex_);
  Rows rows() const EXCLUDES(mutex_);
  Status replace(Rows rows) REQUIRES(changing_) EXCLUDES(mutex_);
  static void mark_reset(Rows& rows);
  static std::string encode(const Rows& rows, Epoch epoch);
  static std::optional<Rows> decode(std::string_view bytes, Epoch epoch, bool* other_epoch);

  FileSystem& fs_;
  const std::string folder_;
  Epoch epoch_;     // under changing_, but while it is made
  Mutex changing_;  // one change at a time, held while the file is replaced; outside of mutex_
  mutable Mutex mutex_;
  Rows rows_ GUARDED_BY(mutex_);
};

}  // namespace dunlin::embedded

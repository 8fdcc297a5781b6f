#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/thread_annotations.h"
#include "config/config.h"
#include "storage/embedded/file/file_system.h"

namespace dunlin {

// The faults of debug.unsafe-faults that live in the store, switched while the server runs so that tests can break a real process. Without
// a fault it costs one relaxed load for each file call. Owner: the node; outlives the store. Any thread.
class Faults {
 public:
  Faults();
  ~Faults();
  Faults(const Faults&) = delete;
  Faults& operator=(const Faults&) = delete;

  void apply(const DebugConfig& debug) EXCLUDES(mutex_);

  // The operating system's files, with the faults on top.
  embedded::FileSystem& file_system() { return *file_system_; }
  // Ends the process with SIGKILL when `point` is the one that debug names.
  void reached(std::string_view point) EXCLUDES(mutex_);

  // What the file system asks before a call named like the system call: waits, or gives the error it has to fail with.
  Status before(std::string_view call, const std::string& path) EXCLUDES(mutex_);

 private:
  std::unique_ptr<embedded::FileSystem> file_system_;
  std::atomic<bool> any_{false};
  Mutex mutex_;
  CondVar changed_;
  std::string crash_at_ GUARDED_BY(mutex_);
  std::string io_error_at_ GUARDED_BY(mutex_);
  std::int64_t store_delay_ms_ GUARDED_BY(mutex_) = 0;
};

}  // namespace dunlin

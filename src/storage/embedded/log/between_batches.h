#pragma once

#include <chrono>
#include <functional>

#include "base/result.h"
#include "base/thread_annotations.h"

namespace dunlin::embedded {

// Lets other threads run something on the committer's thread between two batches (backup and flush look at the log's end, which moves with
// every batch). One job at a time; who comes second waits for the first. Every wait ends: with the job, at the deadline, or with the
// committer.
class BetweenBatches {
 public:
  static constexpr std::chrono::milliseconds kDeadline{30000};

  // Any other thread. Runs `job` there and waits for it; `nudge` wakes the committer. Not run at all: StoreUnavailable once the committer
  // has ended, Timeout when it does not come round within `deadline`. One that has begun is always waited for.
  Status run(const std::function<void()>& job, std::chrono::milliseconds deadline, const std::function<void()>& nudge) EXCLUDES(mutex_);

  void run_waiting() EXCLUDES(mutex_);  // the committer's thread
  void end() EXCLUDES(mutex_);          // any thread: the log has ended, no job is begun any more

 private:
  Mutex mutex_;
  CondVar done_;
  const std::function<void()>* job_ GUARDED_BY(mutex_) = nullptr;  // that waits or is run
  bool running_ GUARDED_BY(mutex_) = false;
  bool ended_ GUARDED_BY(mutex_) = false;
};

}  // namespace dunlin::embedded

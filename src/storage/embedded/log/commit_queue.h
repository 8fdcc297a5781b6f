#pragma once

#include <chrono>
#include <vector>

#include "base/thread_annotations.h"
#include "storage/embedded/log/pending.h"

namespace dunlin::embedded {

// What waits for the committer, in order. Any thread pushes; the committer takes all there is. Bounded in bytes by Intake, which counts.
class CommitQueue {
 public:
  void push(std::vector<Pending>& items) EXCLUDES(mutex_) {
    bool wake = false;
    {
      MutexLock lock(mutex_);
      for (auto& item : items) items_.push_back(std::move(item));
      wake = waiting_;
      waiting_ = false;
    }
    items.clear();
    if (wake) changed_.notify_one();
  }

  // Something other than a send is to be done (a part to evict, the end).
  void nudge() EXCLUDES(mutex_) {
    {
      MutexLock lock(mutex_);
      nudged_ = true;
      waiting_ = false;
    }
    changed_.notify_one();
  }

  // Swaps what is there into `out` (empty), waiting up to `wait` for something.
  void take(std::vector<Pending>& out, std::chrono::milliseconds wait) EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    if (items_.empty() && !nudged_ && wait.count() > 0) {
      waiting_ = true;
      changed_.wait_for(mutex_, wait);
      waiting_ = false;
    }
    nudged_ = false;
    out.swap(items_);
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  std::vector<Pending> items_ GUARDED_BY(mutex_);
  bool waiting_ GUARDED_BY(mutex_) = false;
  bool nudged_ GUARDED_BY(mutex_) = false;
};

}  // namespace dunlin::embedded

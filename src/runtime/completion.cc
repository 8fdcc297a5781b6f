#include "runtime/completion.h"

namespace dunlin {

// Under the lock, so that the worker cannot go away between the look and the wake-up.
void ResumeQueue::push(std::shared_ptr<Resumable> item) {
  MutexLock lock(mutex_);
  if (!worker_) return;
  items_.push_back(std::move(item));
  if (items_.size() == 1) worker_->wake();
}

bool ResumeQueue::run_all() {
  std::vector<std::shared_ptr<Resumable>> batch;
  {
    MutexLock lock(mutex_);
    batch.swap(items_);
  }
  for (auto& item : batch) item->resume();
  return !batch.empty();
}

bool ResumeQueue::empty() const {
  MutexLock lock(mutex_);
  return items_.empty();
}

void ResumeQueue::close() {
  std::vector<std::shared_ptr<Resumable>> dropped;
  MutexLock lock(mutex_);
  worker_ = nullptr;
  dropped.swap(items_);
}

}  // namespace dunlin

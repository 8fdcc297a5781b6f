#include "storage/embedded/log/between_batches.h"

#include <algorithm>

namespace dunlin::embedded {

Status BetweenBatches::run(const std::function<void()>& job, std::chrono::milliseconds deadline, const std::function<void()>& nudge) {
  const auto end = std::chrono::steady_clock::now() + deadline;
  const auto left = [&] { return std::chrono::duration_cast<std::chrono::milliseconds>(end - std::chrono::steady_clock::now()); };
  MutexLock lock(mutex_);
  while (job_ != nullptr && !ended_ && left().count() > 0) done_.wait_for(mutex_, left());
  if (job_ != nullptr && !ended_) return Error(ErrorCode::Timeout, "the committer is busy");
  if (ended_) return Error(ErrorCode::StoreUnavailable, "the store is closing");
  job_ = &job;
  nudge();
  while (job_ == &job && (running_ || (!ended_ && left().count() > 0))) {
    done_.wait_for(mutex_, std::max(left(), std::chrono::milliseconds(10)));
  }
  if (job_ != &job) return {};
  job_ = nullptr;  // nobody has begun it
  done_.notify_all();
  return ended_ ? Error(ErrorCode::StoreUnavailable, "the store is closing") : Error(ErrorCode::Timeout, "the committer is busy");
}

void BetweenBatches::run_waiting() {
  const std::function<void()>* job = nullptr;
  {
    MutexLock lock(mutex_);
    job = job_;
    running_ = job != nullptr;
  }
  if (job == nullptr) return;
  (*job)();
  MutexLock lock(mutex_);
  job_ = nullptr;
  running_ = false;
  done_.notify_all();
}

void BetweenBatches::end() {
  MutexLock lock(mutex_);
  ended_ = true;
  done_.notify_all();
}

}  // namespace dunlin::embedded

#pragma once

#include <atomic>
#include <functional>
#include <utility>
#include <vector>

#include "base/thread_annotations.h"
#include "runtime/worker.h"

namespace dunlin {

// A typed lane into one worker, bounded in bytes: any thread pushes, the worker gets whole batches with one wake-up each.
// When it is full push() returns false and the caller flags the loss (a dropped hint is repaired from the store).
// Construct and destroy it on the worker's thread, before its start(), or after its stop().
template <class T>
class Mailbox final : public Inlet {
 public:
  // `receive` gets each batch in order of pushing, on the worker; it may move the items out.
  using Receive = std::function<void(std::vector<T>& batch)>;

  Mailbox(Worker& worker, std::size_t bound_bytes, Receive receive)
      : worker_(worker), bound_bytes_(bound_bytes), receive_(std::move(receive)) {
    worker_.add_inlet(*this);
  }
  ~Mailbox() { worker_.remove_inlet(*this); }
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;

  // `cost_bytes` is what the item keeps in memory, as the caller counts it. An empty mailbox takes one item of any cost.
  [[nodiscard]] bool push(T item, std::size_t cost_bytes) EXCLUDES(mutex_) {
    bool first = false;
    {
      MutexLock lock(mutex_);
      if (bytes_ != 0 && bytes_ + cost_bytes > bound_bytes_) return false;
      first = incoming_.empty();
      bytes_ += cost_bytes;
      incoming_.push_back(std::move(item));
    }
    if (first) worker_.wake();
    return true;
  }

  std::size_t bytes() const EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    return bytes_;
  }

  void drain() override EXCLUDES(mutex_) {
    {
      MutexLock lock(mutex_);
      if (incoming_.empty()) return;
      batch_.swap(incoming_);
      bytes_ = 0;
    }
    receive_(batch_);
    batch_.clear();
    if (batch_.capacity() * sizeof(T) > kKeptBytes) std::vector<T>().swap(batch_);  // a burst does not stay for ever
  }

 private:
  static constexpr std::size_t kKeptBytes = 256 * 1024;

  Worker& worker_;
  const std::size_t bound_bytes_;
  const Receive receive_;
  mutable Mutex mutex_;
  std::vector<T> incoming_ GUARDED_BY(mutex_);
  std::size_t bytes_ GUARDED_BY(mutex_) = 0;
  std::vector<T> batch_;  // worker only
};

}  // namespace dunlin

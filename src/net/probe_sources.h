#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <vector>

#include "base/thread_annotations.h"
#include "net/address.h"

namespace dunlin {

// The addresses from which the server is about to connect to its own ports, to see whether they answer. Such a connection goes through all
// that a client's does until it is open, and is closed then: no session, no limits by address, and only a counter of its own.
// Any thread; nearly always empty, which costs one relaxed load for each accepted connection.
class ProbeSources {
 public:
  void add(const Endpoint& source) EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    sources_.push_back(source);
    count_.store(sources_.size(), std::memory_order_release);
  }
  void remove(const Endpoint& source) EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    std::erase(sources_, source);
    count_.store(sources_.size(), std::memory_order_release);
  }
  bool contains(const Endpoint& peer) const EXCLUDES(mutex_) {
    if (count_.load(std::memory_order_acquire) == 0) return false;
    const MutexLock lock(mutex_);
    return std::find(sources_.begin(), sources_.end(), peer) != sources_.end();
  }

 private:
  std::atomic<std::size_t> count_{0};
  mutable Mutex mutex_;
  std::vector<Endpoint> sources_ GUARDED_BY(mutex_);
};

}  // namespace dunlin

#pragma once

#include <array>
#include <unordered_map>

#include "base/thread_annotations.h"
#include "storage/embedded/log/pending.h"

namespace dunlin::embedded {

// The sessions that have sent something. find_pinned() and remove() meet under a shard's mutex, so that a lane never goes while a send
// refers to it.
class LaneTable {
 public:
  void add(SessionKey session) {
    Shard& shard = shard_of(session);
    MutexLock lock(shard.mutex);
    shard.lanes.try_emplace(session);
  }

  // The lane with one more pending send; null when the session is not open.
  Lane* find_pinned(SessionKey session) {
    Shard& shard = shard_of(session);
    MutexLock lock(shard.mutex);
    const auto found = shard.lanes.find(session);
    if (found == shard.lanes.end()) return nullptr;
    found->second.pending.fetch_add(1, std::memory_order_relaxed);
    return &found->second;
  }

  // Committer only: lanes go on its thread, so the pointer is good until its next remove().
  Lane* find(SessionKey session) {
    Shard& shard = shard_of(session);
    MutexLock lock(shard.mutex);
    const auto found = shard.lanes.find(session);
    return found == shard.lanes.end() ? nullptr : &found->second;
  }

  // Committer only: removes it if nothing refers to it.
  bool remove(SessionKey session) {
    Shard& shard = shard_of(session);
    MutexLock lock(shard.mutex);
    const auto found = shard.lanes.find(session);
    if (found == shard.lanes.end()) return true;
    if (found->second.pending.load(std::memory_order_acquire) != 0) return false;
    shard.lanes.erase(found);
    return true;
  }

 private:
  struct Shard {
    Mutex mutex;
    std::unordered_map<SessionKey, Lane> lanes GUARDED_BY(mutex);  // a node never moves
  };
  Shard& shard_of(SessionKey session) { return shards_[session.high % shards_.size()]; }
  std::array<Shard, 32> shards_;
};

}  // namespace dunlin::embedded

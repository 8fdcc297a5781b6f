#pragma once

#include <array>
#include <unordered_map>

#include "base/thread_annotations.h"
#include "storage/embedded/log/pending.h"

namespace dunlin::embedded {

// The sessions that have sent something. find_pinned() and remove() meet under a shard's mutex, so that none goes while a send
// refers to it.
class SendingSessions {
 public:
  void add(SessionKey session) {
    Shard& shard = shard_of(session);
    MutexLock lock(shard.mutex);
    shard.sessions.try_emplace(session);
  }

  // The session with one more pending send; null when the session is not open.
  SendingSession* find_pinned(SessionKey session) {
    Shard& shard = shard_of(session);
    MutexLock lock(shard.mutex);
    const auto found = shard.sessions.find(session);
    if (found == shard.sessions.end()) return nullptr;
    found->second.pending.fetch_add(1, std::memory_order_relaxed);
    return &found->second;
  }

  // Committer only: sessions go on its thread, so the pointer is good until its next remove().
  SendingSession* find(SessionKey session) {
    Shard& shard = shard_of(session);
    MutexLock lock(shard.mutex);
    const auto found = shard.sessions.find(session);
    return found == shard.sessions.end() ? nullptr : &found->second;
  }

  // Committer only: removes it if nothing refers to it.
  bool remove(SessionKey session) {
    Shard& shard = shard_of(session);
    MutexLock lock(shard.mutex);
    const auto found = shard.sessions.find(session);
    if (found == shard.sessions.end()) return true;
    if (found->second.pending.load(std::memory_order_acquire) != 0) return false;
    shard.sessions.erase(found);
    return true;
  }

 private:
  struct Shard {
    Mutex mutex;
    std::unordered_map<SessionKey, SendingSession> sessions GUARDED_BY(mutex);  // a node never moves
  };
  Shard& shard_of(SessionKey session) { return shards_[session.high % shards_.size()]; }
  std::array<Shard, 32> shards_;
};

}  // namespace dunlin::embedded

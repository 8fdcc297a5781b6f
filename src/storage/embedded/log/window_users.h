#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/ids.h"
#include "base/thread_annotations.h"

namespace dunlin::embedded {

struct Conversation;

// As conversations_shard: the mutex of the shard in which a user lies.
class DUNLIN_TSA(capability("shard")) WindowUsersShard {};
inline WindowUsersShard window_users_shard;

// A user with records in the window.
struct WindowUser {
  explicit WindowUser(std::string_view name) : id(name) {}
  const std::string id;
  std::atomic<std::uint64_t> newest{0};  // position of the newest record that concerns him
  // Changed by the committer under the shard's mutex, so that it may look without: those of his with records in the window, null where one
  // has moved to the end or left.
  std::vector<Conversation*> conversations GUARDED_BY(window_users_shard);
  std::size_t nulls GUARDED_BY(window_users_shard) = 0;
  // Ascending by the position of their newest record, but for the record that is being published, whose conversation may not have moved
  // yet. Only where there are many: to keep the order costs a twentieth of what a message costs, and few are looked at in no time.
  bool ordered GUARDED_BY(window_users_shard) = false;
};

// user → his conversations that have records in the window. Written by the committer alone; read by any thread.
// Lock order: a shard here may be held while taking one of Conversations, never the other way round.
class WindowUsers {
 public:
  static constexpr std::size_t kShards = 64;
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view id) const noexcept { return std::hash<std::string_view>{}(id); }
  };
  struct Shard {
    Mutex mutex;
    // Keys view into the value.
    std::unordered_map<std::string_view, std::unique_ptr<WindowUser>, Hash, std::equal_to<>> users GUARDED_BY(mutex);
  };
  Shard& shard_of(std::string_view id) { return shards_[(Hash{}(id) >> 7) & (kShards - 1)]; }

  // Committer only: the conversation has got its first, or lost its last, record in the window; its newest one is at `position`.
  void add(Conversation& conversation);
  void remove(Conversation& conversation);
  void raise(Conversation& conversation, LogPosition position);

  // Position of the newest record of the user's in the window, if there is one.
  std::optional<LogPosition> newest(std::string_view user);

 private:
  static bool out_of_order(const WindowUser& user, const Conversation& newest) LOOKS_WITHOUT_LOCK;
  void move_to_end(WindowUser& user, Conversation& conversation);

  std::array<Shard, kShards> shards_;
};

// Locks a shard, and with it the users that lie in it.
class DUNLIN_TSA(scoped_lockable) WindowUsersLock {
 public:
  explicit WindowUsersLock(WindowUsers::Shard& shard) ACQUIRE(shard.mutex, window_users_shard) : lock_(shard.mutex) {}
  ~WindowUsersLock() RELEASE() {}
  WindowUsersLock(const WindowUsersLock&) = delete;
  WindowUsersLock& operator=(const WindowUsersLock&) = delete;

 private:
  MutexLock lock_;
};

}  // namespace dunlin::embedded

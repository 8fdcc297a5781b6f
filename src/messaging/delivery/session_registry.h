#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/open_table.h"
#include "base/siphash.h"
#include "base/thread_annotations.h"

namespace dunlin {

// A connection named by its packed handle; the top ten bits are its worker (the same layout as net/connection_handle.h).
using ConnectionRef = std::uint64_t;
constexpr std::uint16_t worker_of(ConnectionRef connection) {
  return static_cast<std::uint16_t>(connection >> 54);
}

// Which users are online here, on which connections, and the newest position that each was told of his inbox: the one thing that workers
// share. Any thread.
//
// Layout: striped by user; a stripe is an open-addressing table of pointers to one block a user (told, sessions, name): about
// 80 bytes for a user with one session and a name of 16 bytes, table included.
// Locks: one mutex a stripe, a leaf: nothing is called while it is held. Two stripes are never held together.
//
// Paths that meet here, and why none loses a message:
//  - The dispatcher tells a record (tell()): under the stripe's lock it reads the sessions, and what the user was told before this record,
//    and raises that. Whoever is in the block at that instant gets a hint.
//  - A session comes (add()) and reads the store afterwards. A record told before add() was readable before it was told, so that read
//    finds it; a record told after add() comes as a hint. There is no third case.
//  - A session hears nothing (hints dropped): its heartbeat asks the store, which compares told() with what the session has handled. A lost
//    hint in the middle shows earlier, in the next hint: its `previous` is above what the session has handled.
//  - A user's last session goes: the block goes too. The next add() begins it at the highest position that anybody was told, which is at or
//    above every one of this user: so an old session that still asks learns that it may have missed something, and the new one reads the
//    store first anyway.
class SessionRegistry {
 public:
  static constexpr std::size_t kMaxSessions = 2048;  // of one user

  SessionRegistry();
  ~SessionRegistry();
  SessionRegistry(const SessionRegistry&) = delete;
  SessionRegistry& operator=(const SessionRegistry&) = delete;

  // Registers a session. The answer is every older connection of the same device (mostly none); they stay registered until they are
  // removed. Nothing when the user has the most sessions that one may have, those of all devices and of ends under way together.
  std::optional<std::vector<ConnectionRef>> add(std::string_view user, std::string_view device, ConnectionRef connection);
  // False: it was not there.
  bool remove(std::string_view user, ConnectionRef connection);

  // The user is told of a record at `position`: appends his sessions to `sessions` and gives what he was told before, or more. Nothing when
  // he is not online.
  std::optional<InboxPosition> tell(std::string_view user, InboxPosition position, std::vector<ConnectionRef>& sessions);

  // Nothing of the user's above it has been told. Nothing when he is not online here: then nobody keeps count.
  std::optional<InboxPosition> told(std::string_view user) const;

  // Appends the user's connections.
  void sessions(std::string_view user, std::vector<ConnectionRef>& out) const;
  bool online(std::string_view user) const;
  bool online(std::string_view user, std::string_view device) const;
  // The connections of one device of his.
  std::vector<ConnectionRef> sessions_of(std::string_view user, std::string_view device) const;

  std::size_t users() const;
  std::size_t memory_bytes() const;  // as asked from the allocator

 private:
  struct User;
  struct Rule {
    static bool free(const User* user) { return user == nullptr; }
    static std::size_t hash(const User* user);
    static constexpr std::size_t kFirst = 8;
    static constexpr std::size_t kLoad = 7;
  };
  struct Stripe {
    mutable Mutex mutex;
    OpenTable<User*, Rule> users GUARDED_BY(mutex);
    std::size_t bytes GUARDED_BY(mutex) = 0;  // of the users
  };
  static constexpr std::size_t kStripes = 64;

  std::uint64_t hash(std::string_view user) const { return siphash64(key_, user); }
  Stripe& stripe(std::uint64_t hash) { return stripes_[hash >> 58]; }
  const Stripe& stripe(std::uint64_t hash) const { return stripes_[hash >> 58]; }
  // Null when he is not there.
  static User* const* find(const Stripe& stripe, std::uint64_t hash, std::string_view user) REQUIRES(stripe.mutex);
  static User** find(Stripe& stripe, std::uint64_t hash, std::string_view user) REQUIRES(stripe.mutex);
  template <class Use>
  void each_session_of(std::string_view user, std::string_view device, Use use) const;

  const SipKey key_;
  std::atomic<std::uint64_t> told_{0};  // nobody was told more
  std::array<Stripe, kStripes> stripes_;
};

}  // namespace dunlin

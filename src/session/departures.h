#pragma once

#include <optional>
#include <unordered_map>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "messaging/model/session_key.h"
#include "messaging/ports/device_states.h"
#include "net/connection.h"
#include "runtime/completion.h"
#include "runtime/task.h"
#include "runtime/timer_wheel.h"

namespace dunlin {

class SessionHost;
struct Session;

// How the session that made room for a newer one of its device has ended.
struct Departure {
  std::optional<DeviceCursor> cursor;  // what its device had acked; nothing when it never got that far
};

// The ends of a worker's sessions, and who waits for them. For example: a phone connects again on worker B while its old session lives on
// worker A. B asks A's Departures to evict it. The old session reads no more; when all it has sent is settled it is closed, its cursor is
// handed to B, and only then does B answer the connect.
//
// A session ends in up to three steps:
//  1. leave(): somebody wants it gone. It reads no more, and its sends settle. If they do not in DeviceRules::patience (4 s), because the
//     store stands still, it is closed all the same: its client sends again what was not answered.
//  2. on_close(): its connection is gone, for this or any other reason. Its cursor is kept.
//  3. What it has sent is settled: it is out of the registry, and those who wait are told. Until then its user still has it. That takes as
//     long as the store does, which answers every append. Nobody waits so long: who waits gets Timeout at his deadline and is not kept.
//
// Owner: SessionHost. Thread: its worker's, but for evict(). Bound: an entry for each session that ends and is waited for, or that has sent
// something; in it those who have begun to wait less than `patience`, and 250 ms, ago.
class Departures {
 public:
  explicit Departures(SessionHost& host) : host_(host) {}
  ~Departures();
  Departures(const Departures&) = delete;
  Departures& operator=(const Departures&) = delete;

  // Any thread. Makes the session leave with this code, if it is still there; completes when it has, or with Timeout about `deadline`.
  void evict(ConnectionHandle handle, ErrorCode code, MonotonicTime deadline, Completer<Departure> left);

  // Everything the session has in the store settles, then it is kicked.
  void leave(Session& session, ErrorCode code);
  // On the host's worker: ends the session in the store, and completes when all it has sent is settled and the answers have gone out. Else
  // Timeout at `deadline`; what it has sent settles later.
  static Task<Status> settled(SessionHost& host, SessionKey key, MonotonicTime deadline);
  // The one place that keeps its cursor. The session dies behind it.
  void on_close(Session& session);

  // How many wait for a session's end.
  std::size_t waiting() const;

 private:
  struct Waiter {
    Completer<Departure> left;
    MonotonicTime deadline;
  };
  struct ExpiryTimer final : Timer {
    explicit ExpiryTimer(Departures& owner) : departures(owner) {}
    void on_timer() override { departures.expire(); }
    Departures& departures;
  };

  void evict_here(ConnectionHandle handle, ErrorCode code, Waiter waiter);
  void add(ConnectionHandle handle, Waiter waiter);
  void expire();
  static Task<void> tell_settled(SessionHost& host, SessionKey key, Completer<std::monostate> done);
  static Task<void> finish_leaving(SessionHost& host, ConnectionHandle handle, SessionKey key, ErrorCode code);
  static Task<void> settle(SessionHost& host, ConnectionHandle handle, SessionKey key, UserId user, std::optional<DeviceCursor> cursor);
  void tell(ConnectionHandle handle, std::optional<DeviceCursor> cursor);

  SessionHost& host_;
  // Who waits for a session that ends, perhaps nobody. Those whose on_close was called stand here until their sends have settled.
  std::unordered_map<ConnectionHandle, std::vector<Waiter>> waiting_;
  ExpiryTimer expiry_{*this};  // armed while anybody waits
};

}  // namespace dunlin

#pragma once

#include <optional>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "messaging/model/session_key.h"
#include "messaging/ports/device_states.h"
#include "net/connection.h"
#include "runtime/completion.h"
#include "runtime/task.h"

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
//  1. leave(): somebody wants it gone. It reads no more, and its sends settle.
//  2. on_close(): its connection is gone, for this or any other reason. Its cursor is kept.
//  3. What it has sent is settled: it is out of the registry, and those who wait are told. Until then its user still has it.
//
// Owner: SessionHost. Thread: its worker's, but for evict(). Bound: an entry for each session that ends and is waited for, or that has sent
// something.
class Departures {
 public:
  explicit Departures(SessionHost& host) : host_(host) {}
  Departures(const Departures&) = delete;
  Departures& operator=(const Departures&) = delete;

  // Any thread. Makes the session leave with this code, if it is still there; completes when it has.
  void evict(ConnectionHandle handle, ErrorCode code, Completer<Departure> left);

  // Everything the session has in the store settles, then it is kicked.
  void leave(Session& session, ErrorCode code);
  // The one place that keeps its cursor. The session dies behind it.
  void on_close(Session& session);

 private:
  void evict_here(ConnectionHandle handle, ErrorCode code, Completer<Departure> left);
  static Task<void> finish_leaving(SessionHost& host, ConnectionHandle handle, SessionKey key, ErrorCode code);
  static Task<void> settle(SessionHost& host, ConnectionHandle handle, SessionKey key, UserId user, std::optional<DeviceCursor> cursor);
  void tell(ConnectionHandle handle, std::optional<DeviceCursor> cursor);

  SessionHost& host_;
  // Who waits for a session that ends, perhaps nobody. Those whose on_close was called stand here until their sends have settled.
  std::unordered_map<ConnectionHandle, std::vector<Completer<Departure>>> waiting_;
};

}  // namespace dunlin

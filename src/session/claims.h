#pragma once

#include <unordered_map>
#include <vector>

#include "messaging/conversation/conversation_access.h"
#include "messaging/ports/timelines.h"
#include "net/connection_handle.h"
#include "runtime/task.h"

namespace dunlin {

class SessionHost;
struct Session;

// A client says that it has this seq, or has read it, or shows it.
struct ClaimedPosition {
  ConversationAccess access;
  MessageSeq seq;
};

// What clients claim to have and were not pushed. Most of it is harmless: a device acks what it has got from history. But a seq beyond the
// head of its conversation shows that the store was put back to an earlier state. For example: the device has seq 12, the store that was
// put back ends with 10 and will give 11 and 12 again, to other messages. Such a device is reset, and nobody else, since a client can say
// anything (docs/design/delivery.md).
//
// Owner: SessionHost. Thread: its worker's. Bound: one look-up at a time for a session, which is not read meanwhile, so at most the claims
// of one frame wait for it.
class Claims {
 public:
  explicit Claims(SessionHost& host) : host_(host) {}
  Claims(const Claims&) = delete;
  Claims& operator=(const Claims&) = delete;

  void judge(Session& session, std::vector<ClaimedPosition> claimed);
  // What cannot be looked up claims nothing.
  static Task<bool> beyond_head(Timelines& timelines, ClaimedPosition claimed);
  // What the device has is not of this store: its next connect is told `reset`. The session is closed, if it is still there.
  void reset_device(ConnectionHandle handle, const UserId& user, const DeviceId& device);

 private:
  static Task<void> judge_waiting(SessionHost& host, ConnectionHandle handle, UserId user, DeviceId device);

  SessionHost& host_;
  std::unordered_map<ConnectionHandle, std::vector<ClaimedPosition>> waiting_;  // of sessions that are `judging`
};

}  // namespace dunlin

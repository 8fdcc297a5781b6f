#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "net/connection_handle.h"
#include "session/every.h"

namespace dunlin {

class SessionHost;
struct Session;

// The farewell of a server that stops: every client hears when to come back, and is closed, so many of them a second that those who come
// back at once do not trample the servers that are left. For example: 10,000 clients at 1,000 a second with a delay of 2 s are gone in 10
// s, and each comes back 2 to 4 s after its own farewell.
//
// Owner: SessionHost. Thread: its worker's. Bound: one handle for each session that was open when it began; who connects later hears the
// farewell at once. It never ends: the host goes with it.
class Drain {
 public:
  explicit Drain(SessionHost& host) : host_(host) {}
  Drain(const Drain&) = delete;
  Drain& operator=(const Drain&) = delete;

  // 0 a second: all at once. Again: from the beginning, with these numbers.
  void begin(std::uint32_t per_second, Milliseconds reconnect_delay);
  bool begun() const { return timer_ != nullptr; }
  void say_farewell(Session& session);

 private:
  void say_some();

  SessionHost& host_;
  std::vector<ConnectionHandle> left_;
  std::uint32_t per_tick_ = 0;
  Milliseconds reconnect_delay_{0};
  std::unique_ptr<Every> timer_;  // from the beginning on
};

// The delay and a random part of it: nobody comes back before it, and not all at once.
Milliseconds jittered(Milliseconds delay);

}  // namespace dunlin

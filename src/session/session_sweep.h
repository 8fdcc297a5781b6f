#pragma once

#include <vector>

#include "net/connection_handle.h"

namespace dunlin {

class SessionHost;
struct Session;

// Looks at many sessions of a worker, a slice of them a turn, so that no turn walks them all. A session that has ended meanwhile is passed
// over. For example: the mailbox has dropped hints, 20,000 sessions are open, and each has to compare its position with the store's: that
// takes 80 turns, between which the worker reads and writes as always.
//
// Owner: SessionHost, which has one for each thing to look at. Thread: its worker's. Bound: one handle for each session to look at.
class SessionSweep {
 public:
  using Look = void (*)(SessionHost&, Session&);
  SessionSweep(SessionHost& host, Look look) : host_(host), look_(look) {}
  SessionSweep(const SessionSweep&) = delete;
  SessionSweep& operator=(const SessionSweep&) = delete;

  // All open ones, beginning in this turn. Called while an earlier one goes on, it takes that one's place.
  void begin();
  // These too, beginning in the next turn.
  void add(const std::vector<ConnectionHandle>& sessions);

 private:
  void look_at_some();
  void go_on();

  SessionHost& host_;
  const Look look_;
  std::vector<ConnectionHandle> left_;  // still to be looked at
};

}  // namespace dunlin

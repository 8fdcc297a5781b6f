#pragma once

#include <atomic>
#include <cstddef>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "messaging/delivery/send_orders.h"
#include "messaging/ports/timelines.h"
#include "session/pending_sends.h"

namespace dunlin {

class SessionHost;
struct Session;

// What a worker's sessions have sent, from the handler to the answer: gathered during a turn, given to the store in one call at its end,
// remembered until the store has answered, and answered to whoever asked and is still there.
//
// Owner: SessionHost. Thread: its worker's, but for unanswered() and store_answered(). Bound: max_pending_sends a session; at that many its
// connection is not read until answers come. The store answers every append exactly once.
class Sends {
 public:
  explicit Sends(SessionHost& host) : host_(host) {}
  Sends(const Sends&) = delete;
  Sends& operator=(const Sends&) = delete;

  // -- any thread
  std::size_t unanswered() const { return unanswered_.load(std::memory_order_acquire); }
  // When the store last answered a send, or began to have none to answer.
  MonotonicTime store_answered() const { return MonotonicTime(MonotonicTime::duration(store_answered_.load(std::memory_order_relaxed))); }

  // -- the worker
  // With the others of this turn; the outcome answers `id`.
  void append(Session& session, AppendRequest request, std::optional<wire::RequestId> id);
  void flush();  // now, not at the end of the turn
  void answer(AppendOutcome& outcome);
  // Of sessions whose sends a limit refused.
  SendOrders& orders() { return orders_; }

 private:
  SessionHost& host_;
  PendingSends pending_;
  std::vector<AppendRequest> batch_;  // of this turn
  SendOrders orders_;

  // any thread
  std::atomic<std::size_t> unanswered_{0};
  std::atomic<MonotonicTime::rep> store_answered_{0};
};

}  // namespace dunlin

#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "messaging/delivery/delivery_batch.h"

namespace dunlin {

class SessionDelivery;

// Hints that came before what they follow: records whose range has not come, ranges that lack a record, or the range before them. Where
// records come from several sources (other nodes, several threads of a store) that is usual, and what is missing mostly comes within
// milliseconds, so nothing is read for it. What waits longer than `wait` is given up: its session reads.
//
// Owner: a worker; single-threaded. Bounded in bytes, for a session and for all: beyond it nothing waits. A store of one order needs none.
class EarlyHints {
 public:
  struct Options {
    Milliseconds wait{50};
    std::size_t session_bytes = 64 * 1024;
    std::size_t bytes = 4 << 20;
  };
  explicit EarlyHints(Options options) : options_(options) {}

  // False: no room.
  bool add(SessionDelivery& session, Hint hint, std::uint32_t now_ms);
  struct Early {
    Hint hint;
    std::uint32_t came_ms = 0;
  };
  // Those of the session, for it to take some out; null when there are none. Valid until the next call; settle() after a change.
  std::vector<Early>* of(SessionDelivery& session);
  void settle(SessionDelivery& session);
  std::vector<Early> take(SessionDelivery& session);

  // The sessions of which something has waited for too long by now, in the order in which that came.
  std::vector<SessionDelivery*> overdue(std::uint32_t now_ms) const;
  bool empty() const { return waiting_.empty(); }
  std::size_t bytes() const { return bytes_; }

 private:
  struct Waiting {
    std::vector<Early> hints;  // in the order of coming
    std::size_t bytes = 0;
    std::uint64_t number = 0;  // of the session, in the order in which they began to wait
  };
  static std::size_t cost(const Hint& hint) { return sizeof(Early) + (hint.message ? hint.message->footprint() : 0); }

  const Options options_;
  std::unordered_map<SessionDelivery*, Waiting> waiting_;
  std::size_t bytes_ = 0;
  std::uint64_t came_ = 0;
};

}  // namespace dunlin

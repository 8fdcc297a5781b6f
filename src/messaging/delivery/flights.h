#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/ids.h"

namespace dunlin {

// What one session has pushed of one conversation and not seen acked.
struct Flight {
  ConversationId conversation;
  MessageSeq acked;
  MessageSeq sent;    // last seq written to this client
  MessageSeq pushed;  // >= sent; own messages, which need no sending, count too
  // Everything of the conversation at or below `floor` is acked (0 when no more is known). It follows the acks by marks: when mark_seq is
  // acked, floor becomes mark_position, and the next mark is what had been pushed by then.
  InboxPosition floor;
  MessageSeq mark_seq;
  InboxPosition mark_position;
  // Where `pushed` lies in the inbox, as far as it is known: everything of the conversation at or below `reached` is pushed, nothing above
  // `within` is.
  InboxPosition reached;
  InboxPosition within;
  std::uint32_t oldest_push_ms = 0;  // of DeliveryContext::now_ms; restarts when an ack moves `acked`
  bool ahead = false;                // pushed beyond where the session stands, or not filled yet: kept even when all of it is acked

  bool unacked() const { return acked < pushed; }
  bool done() const { return !unacked() && !ahead; }
};

// The flights of one session: a handful, at most some hundreds (the session bounds them). Found by comparing 32-bit hashes side by side.
// Pointers are valid until the next create() or erase().
class FlightTable {
 public:
  Flight* find(std::string_view conversation);
  Flight& create(std::string_view conversation);  // must not be there
  void erase(Flight& flight);
  template <class F>
  void for_each(F&& visit) {
    for (Flight& flight : flights_) visit(flight);
  }
  void erase_done();

  std::size_t size() const { return flights_.size(); }
  std::size_t unacked() const;
  bool empty() const { return flights_.empty(); }

 private:
  static std::uint32_t hash(std::string_view conversation);
  std::vector<std::uint32_t> hashes_;
  std::vector<Flight> flights_;
};

}  // namespace dunlin

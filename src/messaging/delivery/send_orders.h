#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "base/open_table.h"
#include "base/siphash.h"
#include "messaging/model/session_key.h"

namespace dunlin {

// The send orders of open sessions: what keeps a session's pipelined sends in order when one of them is refused, and what makes an id
// provably new. Used by every store's committer, and by each worker for refusals of its own (rate limits).
//
// Order: after a temporary refusal of a send (block()), later sends of that session to that conversation get RetryInOrder until the
// first refused client_msg_id comes again or one comes with `abandon` (admit()). The first refused id is kept, not the last.
// So admit() must be called when the fate of all earlier sends of the session is known: in the committer when the batch is made,
// not in append().
// New ids: `<session>-<n>` with n above all n that were seen for that open session was never sent before by anyone, so no look-up is
// needed (take_number()). Every id of the form has to pass here, also when another session sends it.
//
// Owner: one committer or worker; single-threaded. Cost: 32 bytes a session, one probe a send while nothing was refused, no allocation.
// Bounds: beyond kMaxBlocked conversations of a session, all its other conversations share one block (coarser, never out of order).
// Conversations and ids are kept as keyed 64-bit hashes.
class SendOrders {
 public:
  SendOrders();
  ~SendOrders();
  SendOrders(const SendOrders&) = delete;
  SendOrders& operator=(const SendOrders&) = delete;

  void begin(const SessionKey& session);
  void end(const SessionKey& session);  // unknown sessions: no effect

  // False: refuse with RetryInOrder. A session that was never begun has none and is always admitted.
  [[nodiscard]] bool admit(const SessionKey& session, std::string_view conversation, std::string_view client_msg_id, bool abandon);

  // This send was refused temporarily (not for a RetryInOrder itself: that changes nothing).
  void block(const SessionKey& session, std::string_view conversation, std::string_view client_msg_id);

  // True: no message with this id was ever seen before, whatever the conversation. Call once for each send that has such an id and
  // goes on to be stored; a repeat (also after a refusal) gives false and is looked up.
  [[nodiscard]] bool take_number(const SessionKey& sender, const std::optional<NumberedMsgId>& id);

  std::size_t size() const { return orders_.size(); }

  static constexpr std::size_t kMaxBlocked = 256;

 private:
  struct Block {
    std::uint64_t conversation;
    std::uint64_t client_msg_id;
  };
  struct Blocks {
    std::vector<Block> each;
    std::optional<std::uint64_t> others;  // the id that lifts the block of all conversations not in `each`
  };
  struct Order {
    SessionKey session;  // empty: a free slot
    std::uint64_t last_number = 0;
    std::unique_ptr<Blocks> blocks;  // null while healthy
  };

  // Session keys are random, so their bits are the hash.
  struct Rule {
    static bool free(const Order& order) { return order.session.empty(); }
    static std::size_t hash(const Order& order) { return static_cast<std::size_t>(order.session.low); }
    static constexpr std::size_t kFirst = 16;
    static constexpr std::size_t kLoad = 7;
  };

  Order* find(const SessionKey& session);

  const SipKey key_;
  OpenTable<Order, Rule> orders_;
};

}  // namespace dunlin

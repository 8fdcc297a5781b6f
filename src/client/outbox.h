#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/error.h"
#include "wire/packet.h"

namespace dunlin::client {

// One message that the user wants to have sent.
struct OutgoingMessage {
  std::string to;             // a user id
  std::string body;           // JSON
  std::string client_msg_id;  // given at the first attempt, the same for every later one
};

// Sends that are not settled yet, in the order in which the user made them. A message keeps its client_msg_id (<session>-<n>) through every
// repeat, so that it is stored once however often it was sent.
//
// After a temporary refusal that message and all later ones of the same conversation wait (the server would answer retry_in_order) and then
// go out again in order. A new connection makes everything go out again. Bounded by what the user types: no limit of its own. One thread.
class Outbox {
 public:
  void add(OutgoingMessage message);
  bool empty() const { return entries_.empty(); }
  std::size_t size() const { return entries_.size(); }

  // All that was under way may be lost: it goes out again, in order. `session` names ids of messages that have none yet.
  void on_connected(std::string_view session);

  // The next message to send now, with its request id; nothing when all are under way or waiting.
  struct Attempt {
    wire::RequestId id;
    const OutgoingMessage* message;
  };
  std::optional<Attempt> next(MonotonicTime now, const std::function<wire::RequestId()>& new_id);
  // When next() will have something after a refusal; nothing: no refused message waits.
  std::optional<MonotonicTime> next_retry() const;

  // The answer to an attempt. A message that is settled (stored, or refused for good) is taken out and returned.
  std::optional<OutgoingMessage> on_stored(wire::RequestId id);
  std::optional<OutgoingMessage> on_refused(wire::RequestId id, bool temporary, MonotonicTime retry_at);
  bool holds(wire::RequestId id) const;

 private:
  struct Entry {
    OutgoingMessage message;
    std::optional<wire::RequestId> under_way;
    MonotonicTime not_before{};
  };

  std::optional<OutgoingMessage> take(wire::RequestId id);

  std::deque<Entry> entries_;
  std::string session_;
  std::uint64_t count_ = 0;  // of ids given in this session
};

}  // namespace dunlin::client

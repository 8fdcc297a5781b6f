#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "messaging/delivery/session_registry.h"
#include "messaging/delivery/signal.h"
#include "messaging/model/message.h"
#include "messaging/ports/outcomes.h"

namespace dunlin {

// "Your user's inbox has got this." With a range: seqs first_seq.. up to the message, which stands at `at`. Without one the message is one
// of a range that comes, or came, with another hint. Without a message: something of the user's lies at `at` at least, look for yourself. A
// hint may be lost at any point; the session finds out from `previous`, or at its heartbeat.
struct Hint {
  ConnectionRef connection = 0;
  MessagePtr message;
  InboxPosition at;
  InboxPosition previous;  // the user's position before the range
  MessageSeq first_seq;
  bool has_range = true;
  bool own = false;  // sent by this very connection
};

// Everything that one commit means for one worker, in one mailbox push.
struct DeliveryBatch {
  std::vector<AppendOutcome> acks;  // for senders on this worker; never dropped
  std::vector<Hint> hints;          // of one conversation in seq order
  std::vector<SignalPush> signals;  // receipts, typing: lossy
  bool probe = false;               // asks whether the way to the worker is open; always arrives

  bool empty() const { return acks.empty() && hints.empty() && signals.empty(); }
  // What it may keep in memory. A message that several hints share, which then stand side by side, counts once, and in full, since this may
  // be the last that holds it.
  std::size_t cost_bytes() const {
    std::size_t bytes = sizeof(DeliveryBatch) + acks.size() * sizeof(AppendOutcome) + hints.size() * sizeof(Hint);
    const Message* counted = nullptr;
    for (const Hint& hint : hints) {
      if (hint.message && hint.message.get() != counted) bytes += hint.message->footprint();
      counted = hint.message.get();
    }
    for (const SignalPush& push : signals) bytes += sizeof(SignalPush) + (push.signal ? footprint(*push.signal) : 0);
    return bytes;
  }
};

// One worker's mailbox, as the session layer gives it (session/delivery_mailbox.h). Any thread; never blocks.
class WorkerMailbox {
 public:
  virtual ~WorkerMailbox() = default;
  // Acks always arrive (what was admitted bounds them). False: the mailbox is full, hints and signals of this batch were dropped, and the
  // worker will call SessionDelivery::compare() for all its sessions (in slices), because the implementation has set its hints_lost flag.
  virtual bool post(DeliveryBatch batch) = 0;
};

}  // namespace dunlin

#pragma once

#include <atomic>
#include <span>
#include <string_view>
#include <vector>

#include "messaging/delivery/delivery_batch.h"
#include "messaging/delivery/session_registry.h"
#include "messaging/ports/message_store.h"

namespace dunlin {

// From commit to workers: for each outcome, in commit order, the ack goes to the sender's worker and a hint to every session of the users
// concerned; all of a call that one worker gets is one mailbox push. Also routes signals, which take the same mailboxes.
//
// Owner: the composition root; outlives the store. Threads: on_outcomes() on the store's thread, one call at a time; route() and the rest
// on any thread. Never blocks; locks are the registry's stripes, one at a time, and the mailboxes'.
// The store raises settled_position() after this has returned: whoever reads that, and *then* finds the user's activity at or below what
// his session has handled, knows that nothing of the user's up to it is missing.
class Dispatcher final : public CommitListener {
 public:
  // One mailbox a worker, by its index.
  Dispatcher(SessionRegistry& registry, std::vector<WorkerMailbox*> mailboxes);

  void on_outcomes(std::span<AppendOutcome> outcomes, LogPosition settled_through) override;

  // To every session of `user` but `except` (0: none). May be dropped.
  void route(std::string_view user, const SignalPtr& signal, ConnectionRef except = 0);

  // Fault switch of tests: drops every hint, without a flag. Acks go through.
  void drop_hints(bool drop) { drop_hints_.store(drop, std::memory_order_relaxed); }

 private:
  void hint(const AppendOutcome& outcome);
  void hint_user(const AppendOutcome& outcome, std::string_view user);

  SessionRegistry& registry_;
  const std::vector<WorkerMailbox*> mailboxes_;
  std::atomic<bool> drop_hints_{false};

  // store's thread only
  std::vector<DeliveryBatch> batches_;   // by worker; empty between calls
  std::vector<ConnectionRef> sessions_;  // scratch
};

}  // namespace dunlin

#pragma once

#include <atomic>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "messaging/delivery/delivery_batch.h"
#include "messaging/delivery/session_registry.h"
#include "messaging/ports/outcomes.h"

namespace dunlin {

// From the store to workers: answers go to the senders' workers, and for each user concerned hints to every session of his; all of a call
// that one worker gets is one mailbox push. Also routes signals, which take the same mailboxes.
//
// Owner: the composition root; outlives the store. Any thread, several at once. Never blocks; locks are the registry's stripes, one at a
// time, and the mailboxes'.
class Dispatcher final : public StoreListener {
 public:
  // One mailbox a worker, by its index.
  Dispatcher(SessionRegistry& registry, std::vector<WorkerMailbox*> mailboxes);

  void on_answers(std::span<AppendOutcome> answers) override;
  void on_records(std::span<const InboxNews> news) override;
  void on_commit(std::span<AppendOutcome> answers, std::span<const InboxNews> news) override;
  std::optional<InboxPosition> told(std::string_view user) const override { return registry_.told(user); }

  // To every session of `user` but `except` (0: none). May be dropped.
  void route(std::string_view user, const SignalPtr& signal, ConnectionRef except = 0);

  // Fault switch of tests: drops every hint, without a flag. Acks go through.
  void drop_hints(bool drop) { drop_hints_.store(drop, std::memory_order_relaxed); }

 private:
  using Batches = std::vector<DeliveryBatch>;  // by worker
  static void ack(std::span<AppendOutcome> answers, Batches& batches);
  void hint(std::span<const InboxNews> news, Batches& batches);
  void hint(const InboxNews& news, std::vector<ConnectionRef>& sessions, Batches& batches);
  void post(Batches batches);

  SessionRegistry& registry_;
  const std::vector<WorkerMailbox*> mailboxes_;
  std::atomic<bool> drop_hints_{false};
};

}  // namespace dunlin

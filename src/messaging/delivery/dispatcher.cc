#include "messaging/delivery/dispatcher.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "messaging/model/conversation.h"

namespace dunlin {

Dispatcher::Dispatcher(SessionRegistry& registry, std::vector<WorkerMailbox*> mailboxes)
    : registry_(registry), mailboxes_(std::move(mailboxes)), batches_(mailboxes_.size()) {}

void Dispatcher::on_outcomes(std::span<AppendOutcome> outcomes, LogPosition settled_through) {
  LogPosition newest = settled_through;
  for (const AppendOutcome& outcome : outcomes) {
    if (!outcome.refused && !outcome.duplicate) newest = std::max(newest, outcome.message->position());
  }
  registry_.telling(newest);
  for (AppendOutcome& outcome : outcomes) {
    if (!outcome.refused && !outcome.duplicate) hint(outcome);
    if (outcome.reply.connection == 0) continue;  // nobody waits for this one
    const std::uint16_t worker = worker_of(outcome.reply.connection);
    CHECK(worker < batches_.size());
    batches_[worker].acks.push_back(std::move(outcome));
  }
  for (std::size_t worker = 0; worker < batches_.size(); ++worker) {
    if (batches_[worker].empty()) continue;
    // A loss needs no care here: the mailbox has told its worker.
    static_cast<void>(mailboxes_[worker]->post(std::exchange(batches_[worker], DeliveryBatch())));
  }
}

void Dispatcher::hint(const AppendOutcome& outcome) {
  const auto pair = parse_private(outcome.message->conversation());
  if (!pair) return;
  hint_user(outcome, pair->first);
  if (pair->second != pair->first) hint_user(outcome, pair->second);
}

void Dispatcher::hint_user(const AppendOutcome& outcome, std::string_view user) {
  sessions_.clear();
  const auto previous = registry_.record(user, outcome.message->position(), sessions_);
  if (!previous || drop_hints_.load(std::memory_order_relaxed)) return;
  for (const ConnectionRef connection : sessions_) {
    const std::uint16_t worker = worker_of(connection);
    CHECK(worker < batches_.size());
    batches_[worker].hints.push_back({connection, outcome.message, *previous, connection == outcome.reply.connection});
  }
}

void Dispatcher::route(std::string_view user, const SignalPtr& signal, ConnectionRef except) {
  std::vector<ConnectionRef> sessions;
  registry_.sessions(user, sessions);
  for (const ConnectionRef connection : sessions) {
    if (connection == except) continue;
    CHECK(worker_of(connection) < mailboxes_.size());
    DeliveryBatch batch;
    batch.signals.push_back({connection, signal});
    static_cast<void>(mailboxes_[worker_of(connection)]->post(std::move(batch)));
  }
}

}  // namespace dunlin

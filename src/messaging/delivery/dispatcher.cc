#include "messaging/delivery/dispatcher.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace dunlin {

Dispatcher::Dispatcher(SessionRegistry& registry, std::vector<WorkerMailbox*> mailboxes)
    : registry_(registry), mailboxes_(std::move(mailboxes)) {}

void Dispatcher::on_answers(std::span<AppendOutcome> answers) {
  Batches batches(mailboxes_.size());
  ack(answers, batches);
  post(std::move(batches));
}

void Dispatcher::on_records(std::span<const InboxNews> news) {
  Batches batches(mailboxes_.size());
  hint(news, batches);
  post(std::move(batches));
}

// One mailbox push a worker, so that a session's acks and pushes are written together.
void Dispatcher::on_commit(std::span<AppendOutcome> answers, std::span<const InboxNews> news) {
  Batches batches(mailboxes_.size());
  ack(answers, batches);
  hint(news, batches);
  post(std::move(batches));
}

void Dispatcher::ack(std::span<AppendOutcome> answers, Batches& batches) {
  for (AppendOutcome& answer : answers) {
    if (answer.reply.connection == 0) continue;  // nobody waits for this one
    const std::uint16_t worker = worker_of(answer.reply.connection);
    CHECK(worker < batches.size());
    batches[worker].acks.push_back(std::move(answer));
  }
}

void Dispatcher::hint(std::span<const InboxNews> news, Batches& batches) {
  std::vector<ConnectionRef> sessions;
  for (const InboxNews& one : news) hint(one, sessions, batches);
}

void Dispatcher::hint(const InboxNews& news, std::vector<ConnectionRef>& sessions, Batches& batches) {
  sessions.clear();
  InboxPosition previous;
  if (news.has_range) {
    const auto told = registry_.tell(news.user, news.at, sessions);
    if (!told) return;
    previous = news.previous.value_or(*told);
  } else {
    registry_.sessions(news.user, sessions);
  }
  if (drop_hints_.load(std::memory_order_relaxed)) return;
  const auto hints_of = [&](ConnectionRef connection) -> std::vector<Hint>& {
    CHECK(worker_of(connection) < batches.size());
    return batches[worker_of(connection)].hints;
  };
  // The range comes with its last record; the others before it.
  for (const ToldRecord& record : news.records) {
    const bool last = news.has_range && record.message->seq() == news.seq;
    for (const ConnectionRef connection : sessions) {
      hints_of(connection).push_back({connection, record.message, news.at, previous, news.first_seq, last, connection == record.sender});
    }
  }
  const bool ends = !news.records.empty() && news.records.back().message->seq() == news.seq;
  if (!news.has_range || ends) return;
  for (const ConnectionRef connection : sessions) hints_of(connection).push_back({connection, {}, news.at, previous, {}, true, false});
}

void Dispatcher::post(Batches batches) {
  for (std::size_t worker = 0; worker < batches.size(); ++worker) {
    if (batches[worker].empty()) continue;
    // A loss needs no care here: the mailbox has told its worker.
    static_cast<void>(mailboxes_[worker]->post(std::move(batches[worker])));
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

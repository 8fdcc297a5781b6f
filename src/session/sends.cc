#include "session/sends.h"

#include <utility>

#include "session/session_host.h"

namespace dunlin {
namespace {

// More than this and the store is asked in the middle of a turn.
constexpr std::size_t kBatchAppends = 512;

// What a client should wait before it repeats a send that the store refused for now.
Milliseconds retry_after(ErrorCode code) {
  if (code == ErrorCode::StoreUnavailable) return Milliseconds(1000);
  if (code == ErrorCode::Overloaded) return Milliseconds(200);
  return Milliseconds(0);
}

}  // namespace

void Sends::append(Session& session, AppendRequest request, std::optional<wire::RequestId> id) {
  if (!session.in_store) {
    host_.services().timelines.begin_session(session.session_key);
    session.in_store = true;
  }
  request.reply.connection = session.handle().bits();
  request.reply.request = pending_.add({session.handle(), id, host_.now()});
  batch_.push_back(std::move(request));
  if (pending_.count() == 1) store_answered_.store(host_.now().time_since_epoch().count(), std::memory_order_relaxed);
  unanswered_.store(pending_.count(), std::memory_order_release);
  ++session.pending_sends;
  host_.pause_if_full(session);
  if (batch_.size() >= kBatchAppends) flush();
}

void Sends::flush() {
  if (batch_.empty()) return;
  host_.services().timelines.append(batch_);
  batch_.clear();
}

void Sends::answer(AppendOutcome& outcome) {
  const PendingSends::Entry entry = pending_.take(outcome.reply.request);
  ServerMetrics& metrics = host_.services().metrics;
  // In this order: a reader that still sees sends unanswered sees when the last answer came.
  store_answered_.store(host_.now().time_since_epoch().count(), std::memory_order_relaxed);
  unanswered_.store(pending_.count(), std::memory_order_release);
  if (!outcome.refused) {
    metrics.send_ack_seconds.observe(host_.now() - entry.started);
    (outcome.duplicate ? metrics.duplicates_total : metrics.sends_total).add();
  }

  Session* session = host_.find(entry.connection);
  if (session == nullptr) return;
  --session->pending_sends;
  if (!outcome.refused && session->delivery) session->delivery->on_sent(outcome.message->conversation(), outcome.seq);
  PacketWriter& writer = host_.writer();
  if (outcome.refused) {
    writer.error(session->connection, session->encoding, entry.request, Error(*outcome.refused), retry_after(*outcome.refused));
  } else if (entry.request) {
    writer.send_reply(session->connection, session->encoding, *entry.request,
                      {.conversation = outcome.message->conversation(),
                       .seq = outcome.seq.value(),
                       .time_ms = outcome.time_ms,
                       .durability = outcome.durability,
                       .duplicate = outcome.duplicate});
  }
  host_.resume(*session);
}

}  // namespace dunlin

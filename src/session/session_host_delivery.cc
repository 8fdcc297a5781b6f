// The half of SessionHost that brings what the store and other sessions say to the connections.
#include <algorithm>
#include <utility>
#include <variant>

#include "session/connection_ref.h"
#include "session/session_host.h"

namespace dunlin {
namespace {

// Signals are shed first: a connection with this much waiting gets none.
constexpr std::size_t kShedSignalsAbove = 16 * 1024;
// Sessions that are compared in one turn after hints were lost.
constexpr std::size_t kCompareSlice = 256;

// What a client should wait before it repeats a send that the store refused for now.
Milliseconds retry_after(ErrorCode code) {
  if (code == ErrorCode::StoreUnavailable) return Milliseconds(1000);
  if (code == ErrorCode::Overloaded) return Milliseconds(200);
  return Milliseconds(0);
}

}  // namespace

void SessionHost::receive(DeliveryBatch& batch) {
  if (batch.probe) probes_answered_.fetch_add(1, std::memory_order_relaxed);
  for (AppendOutcome& outcome : batch.acks) answer(outcome);
  for (const Hint& hint : batch.hints) {
    Session* session = find(connection_handle(hint.connection));
    if (session == nullptr || !session->delivery) continue;
    session->delivery->on_hint(hint);
    note_changed(*session);
    if (hint.own) note_acked(*session);
  }
  for (const SignalPush& push : batch.signals) push_signal(push);
}

void SessionHost::answer(AppendOutcome& outcome) {
  const PendingSends::Entry entry = pending_.take(outcome.reply.request);
  // In this order: a reader that still sees sends unanswered sees when the last answer came.
  store_answered_.store(now().time_since_epoch().count(), std::memory_order_relaxed);
  unanswered_sends_.store(pending_.count(), std::memory_order_release);
  if (!outcome.refused) {
    services_.metrics.send_ack_seconds.observe(now() - entry.started);
    (outcome.duplicate ? services_.metrics.duplicates_total : services_.metrics.sends_total).add();
  }

  Session* session = find(entry.connection);
  if (session == nullptr) return;
  --session->pending_sends;
  if (!outcome.refused && session->delivery) session->delivery->on_sent(outcome.message->conversation(), outcome.seq);
  if (outcome.refused) {
    writer_.error(session->connection, session->encoding, entry.request, Error(*outcome.refused), retry_after(*outcome.refused));
  } else if (entry.request) {
    writer_.send_reply(session->connection, session->encoding, *entry.request,
                       {.conversation = outcome.message->conversation(),
                        .seq = outcome.seq.value(),
                        .time_ms = outcome.time_ms,
                        .durability = outcome.durability,
                        .duplicate = outcome.duplicate});
  }
  resume(*session);
}

DeliverySink::Pushed SessionHost::push_message(Session& session, const MessagePtr& message) {
  if (!faults_.drop_pushes) {
    const SendResult result = writer_.message(session.connection, session.encoding, message);
    if (result == SendResult::AtBound) return DeliverySink::Pushed::AtBound;
    if (result == SendResult::Closed) return DeliverySink::Pushed::Queued;  // no push: it goes with the connection
    // What is read on or pushed again tells when its device came back, not how fast a message gets through.
    const bool live = session.delivery->pushes_hints() && message->accepted() != MonotonicTime{};
    if (live) services_.metrics.send_deliver_seconds.observe(now() - message->accepted());
  }
  services_.metrics.pushes_total.add();
  return DeliverySink::Pushed::Queued;
}

DeliverySink::Pushed SessionHost::push_gap(Session& session, const ConversationId& conversation, const SeqGap& gap) {
  if (writer_.gap(session.connection, session.encoding, conversation.view(), gap) != SendResult::AtBound)
    return DeliverySink::Pushed::Queued;
  return DeliverySink::Pushed::AtBound;
}

void SessionHost::push_signal(const SignalPush& push) {
  Session* session = find(connection_handle(push.connection));
  if (session == nullptr || !session->ready() || session->connection.queued_bytes() > kShedSignalsAbove) return;
  if (const auto* receipt = std::get_if<ReceiptSignal>(push.signal.get())) {
    writer_.push(session->connection, session->encoding,
                 wire::ReceiptPush{.conversation = receipt->conversation.view(),
                                   .user = receipt->user.view(),
                                   .delivered_seq = receipt->delivered_seq.value(),
                                   .read_seq = receipt->read_seq.value()});
  } else if (const auto* typing = std::get_if<TypingSignal>(push.signal.get())) {
    writer_.push(session->connection, session->encoding,
                 wire::TypingPush{.conversation = typing->conversation.view(), .from = typing->user.view(), .active = typing->active});
  } else if (const auto* transient = std::get_if<TransientSignal>(push.signal.get())) {
    writer_.push(session->connection, session->encoding,
                 wire::MessagePush{{.conversation = transient->conversation.view(),
                                    .seq = 0,
                                    .from = transient->user.view(),
                                    .time_ms = static_cast<std::uint64_t>(to_ms(wall())),
                                    .client_msg_id = transient->client_msg_id,
                                    .body = transient->body,
                                    .content_type = transient->content_type,
                                    .transient = true}});
  } else if (const auto* forgotten = std::get_if<ForgottenSignal>(push.signal.get())) {
    writer_.push(session->connection, session->encoding,
                 wire::NoticePush{.name = "device_forgotten", .text = forgotten->text, .device = forgotten->device.view()});
  }
}

void SessionHost::hints_were_lost() {
  compare_all();
}

void SessionHost::compare_all() {
  const bool running = !to_compare_.empty();
  to_compare_.clear();
  connections_.for_each_open([this](Connection& connection) { to_compare_.push_back(connection.handle()); });
  if (!running) compare_some();
}

void SessionHost::compare_some() {
  for (std::size_t done = 0; done < kCompareSlice && !to_compare_.empty(); ++done) {
    Session* session = find(to_compare_.back());
    to_compare_.pop_back();
    if (session == nullptr || !session->attached) continue;
    session->delivery->compare();
    note_changed(*session);
  }
  if (to_compare_.empty()) return;
  if (!worker_.post([this] { compare_some(); })) to_compare_.clear();  // the worker is ending
}

}  // namespace dunlin

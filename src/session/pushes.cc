#include "session/pushes.h"

#include <variant>

#include "session/connection_ref.h"
#include "session/session_host.h"

namespace dunlin {
namespace {

// A connection with this much waiting gets no signals.
constexpr std::size_t kShedSignalsAbove = 16 * 1024;

}  // namespace

DeliverySink::Pushed Pushes::message(Session& session, const MessagePtr& message) {
  if (!faults_.drop_pushes) {
    const SendResult result = host_.writer().message(session.connection, session.encoding, message);
    if (result == SendResult::AtBound) return DeliverySink::Pushed::AtBound;
    if (result == SendResult::Closed) return DeliverySink::Pushed::Queued;  // no push: it goes with the connection
    // What is read on or pushed again tells when its device came back, not how fast a message gets through.
    const bool live = session.delivery->pushes_hints() && message->accepted() != MonotonicTime{};
    if (live) host_.services().metrics.send_deliver_seconds.observe(host_.now() - message->accepted());
  }
  host_.services().metrics.pushes_total.add();
  return DeliverySink::Pushed::Queued;
}

DeliverySink::Pushed Pushes::gap(Session& session, const ConversationId& conversation, const SeqGap& gap) {
  if (host_.writer().gap(session.connection, session.encoding, conversation.view(), gap) != SendResult::AtBound)
    return DeliverySink::Pushed::Queued;
  return DeliverySink::Pushed::AtBound;
}

void Pushes::signal(const SignalPush& push) {
  Session* session = host_.find(connection_handle(push.connection));
  if (session == nullptr || !session->ready() || session->connection.queued_bytes() > kShedSignalsAbove) return;
  if (const auto* receipt = std::get_if<ReceiptSignal>(push.signal.get())) {
    host_.writer().push(session->connection, session->encoding,
                        wire::ReceiptPush{.conversation = receipt->conversation.view(),
                                          .user = receipt->user.view(),
                                          .delivered_seq = receipt->delivered_seq.value(),
                                          .read_seq = receipt->read_seq.value()});
  } else if (const auto* typing = std::get_if<TypingSignal>(push.signal.get())) {
    host_.writer().push(
        session->connection, session->encoding,
        wire::TypingPush{.conversation = typing->conversation.view(), .from = typing->user.view(), .active = typing->active});
  } else if (const auto* transient = std::get_if<TransientSignal>(push.signal.get())) {
    host_.writer().push(session->connection, session->encoding,
                        wire::MessagePush{{.conversation = transient->conversation.view(),
                                           .seq = 0,
                                           .from = transient->user.view(),
                                           .time_ms = static_cast<std::uint64_t>(to_ms(host_.wall())),
                                           .client_msg_id = transient->client_msg_id,
                                           .body = transient->body,
                                           .content_type = transient->content_type,
                                           .transient = true}});
  } else if (const auto* forgotten = std::get_if<ForgottenSignal>(push.signal.get())) {
    host_.writer().push(session->connection, session->encoding,
                        wire::NoticePush{.name = "device_forgotten", .text = forgotten->text, .device = forgotten->device.view()});
  }
}

}  // namespace dunlin

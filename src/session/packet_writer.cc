#include "session/packet_writer.h"

namespace dunlin {

MessageKind frame_kind(wire::Encoding encoding) {
  return encoding == wire::Encoding::Json ? MessageKind::Text : MessageKind::Binary;
}

wire::MessageView message_view(const Message& message, bool transient) {
  return {.conversation = message.conversation(),
          .seq = message.seq().value(),
          .from = message.sender(),
          .time_ms = message.place().time_ms,
          .client_msg_id = message.client_msg_id(),
          .body = message.body(),
          .content_type = message.content_type(),
          .transient = transient};
}

wire::GapView gap_view(std::string_view conversation, const SeqGap& gap) {
  return {.conversation = conversation, .from_seq = gap.from.value(), .to_seq = gap.to.value(), .reason = gap.reason};
}

void PacketWriter::reply(Connection& connection, wire::Encoding encoding, std::optional<wire::RequestId> id, const wire::ReplyBody& body) {
  std::string& out = scratch();
  wire::append_reply(encoding, out, id, body);
  connection.reply(frame_kind(encoding), out);
}

void PacketWriter::send_reply(Connection& connection, wire::Encoding encoding, wire::RequestId id, const wire::SendReply& body) {
  std::string& out = scratch();
  wire::append_send_reply(encoding, out, id, body);
  connection.reply(frame_kind(encoding), out);
}

void PacketWriter::error(Connection& connection, wire::Encoding encoding, std::optional<wire::RequestId> id, const Error& error,
                         Milliseconds retry_after) {
  metrics_.errors_total.add(wire_code(error.code()));
  std::string& out = scratch();
  wire::append_error_reply(encoding, out, id, error, static_cast<std::uint64_t>(retry_after.count()));
  connection.reply(frame_kind(encoding), out);
}

void PacketWriter::push(Connection& connection, wire::Encoding encoding, const wire::Push& push) {
  std::string& out = scratch();
  wire::append_push(encoding, out, push);
  connection.reply(frame_kind(encoding), out);
}

SendResult PacketWriter::message(Connection& connection, wire::Encoding encoding, const MessagePtr& message, bool transient) {
  remember(message, transient);
  EncodedMessage& encoded = encoded_[static_cast<std::size_t>(encoding)];
  if (encoded.payload.empty()) {
    wire::append_message_push(encoding, encoded.payload, message_view(*message, transient));
    metrics_.encodes(encoding == wire::Encoding::Json ? metrics::Encoding::Json : metrics::Encoding::Protobuf).add();
  }
  if (encoded.payload.size() <= kSharedFromBytes) return connection.send(frame_kind(encoding), encoded.payload);
  SharedBytes& framed = encoded.framed[static_cast<std::size_t>(connection.framing())];
  if (framed.empty()) framed = encode_frame(connection.framing(), frame_kind(encoding), encoded.payload);
  return connection.send(framed);
}

SendResult PacketWriter::gap(Connection& connection, wire::Encoding encoding, std::string_view conversation, const SeqGap& gap) {
  std::string& out = scratch();
  wire::append_push(encoding, out, wire::GapPush{gap_view(conversation, gap)});
  return connection.send(frame_kind(encoding), out);
}

void PacketWriter::remember(const MessagePtr& message, bool transient) {
  if (message_.get() == message.get() && transient_ == transient) return;
  forget_message();
  message_ = message;
  transient_ = transient;
}

void PacketWriter::forget_message() {
  message_ = {};
  for (EncodedMessage& encoded : encoded_) {
    encoded.payload.clear();
    encoded.framed = {};
  }
}

}  // namespace dunlin

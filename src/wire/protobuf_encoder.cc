#include "wire/protobuf_encoder.h"

#include <google/protobuf/arena.h>

#include "base/check.h"
#include "dunlin/v1/packets.pb.h"
#include "wire/protobuf_writer.h"

namespace dunlin::wire {
namespace {

void set(std::string* field, std::string_view value) {
  field->assign(value);
}

void fill(v1::Message& to, const MessageView& m) {
  set(to.mutable_conversation(), m.conversation);
  to.set_seq(m.seq);
  set(to.mutable_from(), m.from);
  to.set_time_ms(m.time_ms);
  set(to.mutable_client_msg_id(), m.client_msg_id);
  set(to.mutable_body(), m.body);
  set(to.mutable_content_type(), m.content_type);
  to.set_transient(m.transient);
}

void fill(v1::Gap& to, const GapView& gap) {
  set(to.mutable_conversation(), gap.conversation);
  to.set_from_seq(gap.from_seq);
  to.set_to_seq(gap.to_seq);
  to.set_reason(static_cast<v1::Gap::Reason>(gap.reason));
}

void fill(v1::Error& to, const ErrorReply& r) {
  to.set_code(r.code);
  set(to.mutable_name(), r.name);
  to.set_message(r.message);
  to.set_temporary(r.temporary);
  to.set_retry_after_ms(r.retry_after_ms);
}

void fill(v1::Limits& to, const Limits& l) {
  to.set_max_packet_bytes(l.max_packet_bytes);
  to.set_max_body_bytes(l.max_body_bytes);
  to.set_max_body_depth(l.max_body_depth);
  to.set_max_positions(l.max_positions);
  to.set_max_pending_sends(l.max_pending_sends);
  to.set_max_history_limit(l.max_history_limit);
  to.set_max_sync_limit(l.max_sync_limit);
  to.set_max_unacked_conversations(l.max_unacked_conversations);
}

void fill(v1::ChangedConversation& to, const ChangedConversation& c) {
  set(to.mutable_conversation(), c.conversation);
  to.set_from_seq(c.from_seq);
  to.set_head_seq(c.head_seq);
}

void fill(v1::ConnectReply& to, const ConnectReply& r) {
  set(to.mutable_session(), r.session);
  set(to.mutable_epoch(), r.epoch);
  set(to.mutable_user(), r.user);
  set(to.mutable_device(), r.device);
  to.set_time_ms(r.time_ms);
  to.set_heartbeat_interval_ms(r.heartbeat_interval_ms);
  fill(*to.mutable_limits(), r.limits);
  to.set_durability(static_cast<v1::Durability>(r.durability));
  to.set_resume(static_cast<v1::ConnectReply::Resume>(r.resume));
  set(to.mutable_reason(), r.reason);
  for (const ChangedConversation& each : r.changed) fill(*to.add_changed(), each);
  for (const TruncatedConversation& each : r.truncated) {
    v1::TruncatedConversation& truncated = *to.add_truncated();
    set(truncated.mutable_conversation(), each.conversation);
    truncated.set_from_seq(each.from_seq);
  }
  to.set_more(r.more);
  set(to.mutable_sync_token(), r.sync_token);
}

void fill(v1::SendReply& to, const SendReply& r) {
  set(to.mutable_conversation(), r.conversation);
  to.set_seq(r.seq);
  to.set_time_ms(r.time_ms);
  to.set_durability(static_cast<v1::Durability>(r.durability));
  to.set_duplicate(r.duplicate);
}

void fill(v1::Conversation& to, const ConversationView& c) {
  set(to.mutable_conversation(), c.conversation);
  set(to.mutable_kind(), c.kind);
  set(to.mutable_with(), c.with);
  to.set_head_seq(c.head_seq);
  to.set_first_seq(c.first_seq);
  to.set_read_seq(c.read_seq);
  to.set_unread(c.unread);
  to.set_peer_delivered_seq(c.peer_delivered_seq);
  to.set_peer_read_seq(c.peer_read_seq);
  if (c.last_message) fill(*to.mutable_last_message(), *c.last_message);
}

void fill(v1::SyncReply& to, const SyncReply& r) {
  for (const ConversationView& each : r.conversations) fill(*to.add_conversations(), each);
  set(to.mutable_cursor(), r.cursor);
  to.set_more(r.more);
  set(to.mutable_sync_token(), r.sync_token);
  to.set_reset(r.reset);
}

void fill(v1::HistoryReply& to, const HistoryReply& r) {
  for (const MessageView& each : r.messages) fill(*to.add_messages(), each);
  for (const GapView& each : r.gaps) fill(*to.add_gaps(), each);
  to.set_more(r.more);
}

void put(v1::Reply& to, const ErrorReply& r) {
  fill(*to.mutable_error(), r);
}
void put(v1::Reply& to, const ConnectReply& r) {
  fill(*to.mutable_connect(), r);
}
void put(v1::Reply& to, const RefreshReply& r) {
  to.mutable_refresh()->set_expires_ms(r.expires_ms);
}
void put(v1::Reply& to, const PingReply& r) {
  to.mutable_ping()->set_time_ms(r.time_ms);
}
void put(v1::Reply& to, const SendReply& r) {
  fill(*to.mutable_send(), r);
}
void put(v1::Reply& to, const AckReply& r) {
  set(to.mutable_ack()->mutable_sync_token(), r.sync_token);
}
void put(v1::Reply& to, const ReadReply& r) {
  to.mutable_read()->set_read_seq(r.read_seq);
}
void put(v1::Reply& to, const SyncReply& r) {
  fill(*to.mutable_sync(), r);
}
void put(v1::Reply& to, const HistoryReply& r) {
  fill(*to.mutable_history(), r);
}
void put(v1::Reply& to, const TypingReply&) {
  to.mutable_typing();
}
void put(v1::Reply& to, const LogoutReply&) {
  to.mutable_logout();
}

void put(v1::Reply& to, const DevicesReply& r) {
  v1::DevicesReply& devices = *to.mutable_devices();
  for (const DeviceView& each : r.devices) {
    v1::Device& device = *devices.add_devices();
    set(device.mutable_device(), each.device);
    set(device.mutable_platform(), each.platform);
    device.set_last_seen_ms(each.last_seen_ms);
    device.set_connected(each.connected);
  }
  devices.set_more(r.more);
}

void put(v1::Reply& to, const ForgetDeviceReply&) {
  to.mutable_forget_device();
}

void put(v1::Push& to, const MessagePush& p) {
  fill(*to.mutable_message(), p.message);
}
void put(v1::Push& to, const GapPush& p) {
  fill(*to.mutable_gap(), p.gap);
}

void put(v1::Push& to, const ReceiptPush& p) {
  v1::ReceiptPush& receipt = *to.mutable_receipt();
  set(receipt.mutable_conversation(), p.conversation);
  set(receipt.mutable_user(), p.user);
  receipt.set_delivered_seq(p.delivered_seq);
  receipt.set_read_seq(p.read_seq);
}

void put(v1::Push& to, const TypingPush& p) {
  v1::TypingPush& typing = *to.mutable_typing();
  set(typing.mutable_conversation(), p.conversation);
  set(typing.mutable_from(), p.from);
  typing.set_active(p.active);
}

void put(v1::Push& to, const NoticePush& p) {
  set(to.mutable_notice()->mutable_name(), p.name);
  set(to.mutable_notice()->mutable_text(), p.text);
  set(to.mutable_notice()->mutable_device(), p.device);
}

void put(v1::Push& to, const KickPush& p) {
  v1::KickPush& kick = *to.mutable_kick();
  kick.set_code(p.code);
  set(kick.mutable_name(), p.name);
  kick.set_reconnect(static_cast<v1::KickPush::Reconnect>(p.reconnect));
}

void put(v1::Push& to, const DrainPush& p) {
  to.mutable_drain()->set_delay_ms(p.delay_ms);
  set(to.mutable_drain()->mutable_url(), p.url);
}

void put(v1::Request&, const MalformedRequest&) {
  CHECK(false);
}

void put(v1::Request& to, const ConnectRequest& r) {
  v1::ConnectRequest& connect = *to.mutable_connect();
  set(connect.mutable_token(), r.token);
  set(connect.mutable_device(), r.device);
  set(connect.mutable_platform(), r.platform);
  for (std::string_view capability : r.capabilities) set(connect.add_capabilities(), capability);
  set(connect.mutable_sync_token(), r.sync_token);
  for (const ConversationSeq& each : r.open) {
    v1::Position& position = *connect.add_open();
    set(position.mutable_conversation(), each.conversation);
    position.set_seq(each.seq);
  }
}

void put(v1::Request& to, const RefreshRequest& r) {
  set(to.mutable_refresh()->mutable_token(), r.token);
}
void put(v1::Request& to, const PingRequest&) {
  to.mutable_ping();
}
void put(v1::Request& to, const LogoutRequest&) {
  to.mutable_logout();
}
void put(v1::Request& to, const DevicesRequest&) {
  to.mutable_devices();
}
void put(v1::Request& to, const ForgetDeviceRequest& r) {
  set(to.mutable_forget_device()->mutable_device(), r.device);
}

void put(v1::Request& to, const SendRequest& r) {
  v1::SendRequest& send = *to.mutable_send();
  set(send.mutable_to(), r.target.user);
  set(send.mutable_conversation(), r.target.conversation);
  set(send.mutable_client_msg_id(), r.client_msg_id);
  set(send.mutable_body(), r.body);
  set(send.mutable_content_type(), r.content_type);
  send.set_durability(static_cast<v1::Durability>(r.durability));
  send.set_transient(r.transient);
  send.set_abandon(r.abandon);
}

void put(v1::Request& to, const AckRequest& r) {
  v1::AckRequest& ack = *to.mutable_ack();
  for (const ConversationSeq& each : r.positions) {
    v1::Position& position = *ack.add_positions();
    set(position.mutable_conversation(), each.conversation);
    position.set_seq(each.seq);
  }
}

void put(v1::Request& to, const ReadRequest& r) {
  set(to.mutable_read()->mutable_conversation(), r.conversation);
  to.mutable_read()->set_seq(r.seq);
}

void put(v1::Request& to, const SyncRequest& r) {
  v1::SyncRequest& sync = *to.mutable_sync();
  sync.set_limit(r.limit);
  set(sync.mutable_cursor(), r.cursor);
  set(sync.mutable_sync_token(), r.sync_token);
  for (std::string_view each : r.conversations) set(sync.add_conversations(), each);
}

void put(v1::Request& to, const HistoryRequest& r) {
  v1::HistoryRequest& history = *to.mutable_history();
  set(history.mutable_conversation(), r.target.conversation);
  set(history.mutable_with(), r.target.user);
  if (r.before_seq) history.set_before_seq(*r.before_seq);
  if (r.after_seq) history.set_after_seq(*r.after_seq);
  history.set_limit(r.limit);
}

void put(v1::Request& to, const TypingRequest& r) {
  v1::TypingRequest& typing = *to.mutable_typing();
  set(typing.mutable_to(), r.target.user);
  set(typing.mutable_conversation(), r.target.conversation);
  if (!r.active) typing.set_active(false);
}

void append_delimited(std::string& out, const google::protobuf::MessageLite& packet) {
  ProtobufWriter(out).varint(packet.ByteSizeLong());
  CHECK(packet.AppendPartialToString(&out));
}

// Field numbers of proto/dunlin/v1/ that the hot packets are written with.
constexpr std::uint32_t kReply = 1;
constexpr std::uint32_t kPush = 2;
constexpr std::uint32_t kPushMessage = 1;
constexpr std::uint32_t kReplyId = 1;
constexpr std::uint32_t kReplySend = 13;

}  // namespace

void append_protobuf_reply(std::string& out, std::optional<RequestId> id, const ReplyBody& reply) {
  google::protobuf::Arena arena;
  auto* packet = google::protobuf::Arena::CreateMessage<v1::ServerPacket>(&arena);
  v1::Reply& to = *packet->mutable_reply();
  if (id) to.set_id(*id);
  std::visit([&to](const auto& body) { put(to, body); }, reply);
  append_delimited(out, *packet);
}

void append_protobuf_push(std::string& out, const Push& push) {
  google::protobuf::Arena arena;
  auto* packet = google::protobuf::Arena::CreateMessage<v1::ServerPacket>(&arena);
  v1::Push& to = *packet->mutable_push();
  std::visit([&to](const auto& body) { put(to, body); }, push);
  append_delimited(out, *packet);
}

void append_protobuf_request(std::string& out, const Request& request) {
  google::protobuf::Arena arena;
  auto* packet = google::protobuf::Arena::CreateMessage<v1::Request>(&arena);
  if (request.id) packet->set_id(*request.id);
  std::visit([packet](const auto& command) { put(*packet, command); }, request.command);
  append_delimited(out, *packet);
}

void append_protobuf_message_push(std::string& out, const MessageView& m) {
  using W = ProtobufWriter;
  const std::size_t message = W::bytes_size(1, m.conversation.size()) + W::number_size(2, m.seq) + W::bytes_size(3, m.from.size()) +
                              W::number_size(4, m.time_ms) + W::bytes_size(5, m.client_msg_id.size()) + W::bytes_size(6, m.body.size()) +
                              W::bytes_size(7, m.content_type.size()) + W::number_size(8, m.transient ? 1 : 0);
  const std::size_t push = 1 + W::varint_size(message) + message;
  const std::size_t packet = 1 + W::varint_size(push) + push;
  out.reserve(out.size() + 10 + packet);
  ProtobufWriter w(out);
  w.varint(packet);
  w.nested(kPush, push);
  w.nested(kPushMessage, message);
  w.bytes(1, m.conversation);
  w.number(2, m.seq);
  w.bytes(3, m.from);
  w.number(4, m.time_ms);
  w.bytes(5, m.client_msg_id);
  w.bytes(6, m.body);
  w.bytes(7, m.content_type);
  w.number(8, m.transient ? 1 : 0);
}

void append_protobuf_send_reply(std::string& out, std::optional<RequestId> id, const SendReply& r) {
  using W = ProtobufWriter;
  const auto durability = static_cast<std::uint64_t>(r.durability);
  const std::size_t send = W::bytes_size(1, r.conversation.size()) + W::number_size(2, r.seq) + W::number_size(3, r.time_ms) +
                           W::number_size(4, durability) + W::number_size(5, r.duplicate ? 1 : 0);
  const std::size_t id_size = id ? 1 + W::varint_size(*id) : 0;
  const std::size_t reply = id_size + 1 + W::varint_size(send) + send;
  ProtobufWriter w(out);
  w.varint(1 + W::varint_size(reply) + reply);
  w.nested(kReply, reply);
  if (id) {
    w.varint(kReplyId << 3);
    w.varint(*id);
  }
  w.nested(kReplySend, send);
  w.bytes(1, r.conversation);
  w.number(2, r.seq);
  w.number(3, r.time_ms);
  w.number(4, durability);
  w.number(5, r.duplicate ? 1 : 0);
}

}  // namespace dunlin::wire

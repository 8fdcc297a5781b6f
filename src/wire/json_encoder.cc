#include "wire/json_encoder.h"

#include "base/check.h"
#include "wire/base64.h"
#include "wire/json_text.h"
#include "wire/json_writer.h"

namespace dunlin::wire {
namespace {

void optional_field(JsonWriter& w, std::string_view name, std::string_view value) {
  if (!value.empty()) w.field(name, value);
}
void optional_field(JsonWriter& w, std::string_view name, bool value) {
  if (value) w.field(name, true);
}
void optional_field(JsonWriter& w, std::string_view name, std::uint64_t value) {
  if (value != 0) w.field(name, value);
}

void write_body(JsonWriter& w, std::string_view body, std::string_view content_type) {
  if (is_json_content_type(content_type)) {
    w.raw_field("body", body);
  } else {
    std::string text;
    append_base64(text, body);
    w.field("body_base64", text);
  }
  optional_field(w, "content_type", content_type);
}

void write(JsonWriter& w, const MessageView& m) {
  w.begin_object();
  w.field("conversation", m.conversation);
  w.field("seq", m.seq);
  w.field("from", m.from);
  w.field("time_ms", m.time_ms);
  w.field("client_msg_id", m.client_msg_id);
  write_body(w, m.body, m.content_type);
  optional_field(w, "transient", m.transient);
  w.end_object();
}

void write(JsonWriter& w, const GapView& gap) {
  w.begin_object();
  w.field("conversation", gap.conversation);
  w.field("from_seq", gap.from_seq);
  w.field("to_seq", gap.to_seq);
  w.field("reason", gap_reason_name(gap.reason));
  w.end_object();
}

void write(JsonWriter& w, const ConversationSeq& position) {
  w.begin_object();
  w.field("conversation", position.conversation);
  w.field("seq", position.seq);
  w.end_object();
}

void write(JsonWriter& w, const ChangedConversation& c) {
  w.begin_object();
  w.field("conversation", c.conversation);
  w.field("from_seq", c.from_seq);
  w.field("head_seq", c.head_seq);
  w.end_object();
}

void write(JsonWriter& w, const TruncatedConversation& t) {
  w.begin_object();
  w.field("conversation", t.conversation);
  w.field("from_seq", t.from_seq);
  w.end_object();
}

void write(JsonWriter& w, const ConversationView& c) {
  w.begin_object();
  w.field("conversation", c.conversation);
  w.field("kind", c.kind);
  optional_field(w, "with", c.with);
  w.field("head_seq", c.head_seq);
  w.field("first_seq", c.first_seq);
  w.field("read_seq", c.read_seq);
  w.field("unread", c.unread);
  w.field("peer_delivered_seq", c.peer_delivered_seq);
  w.field("peer_read_seq", c.peer_read_seq);
  if (c.last_message) {
    w.key("last_message");
    write(w, *c.last_message);
  }
  w.end_object();
}

void write(JsonWriter& w, const DeviceView& d) {
  w.begin_object();
  w.field("device", d.device);
  optional_field(w, "platform", d.platform);
  w.field("last_seen_ms", d.last_seen_ms);
  w.field("connected", d.connected);
  w.end_object();
}

template <class Items>
void write_array(JsonWriter& w, std::string_view name, const Items& items) {
  w.key(name);
  w.begin_array();
  for (const auto& item : items) write(w, item);
  w.end_array();
}

void write(JsonWriter& w, const Limits& l) {
  w.begin_object();
  w.field("max_packet_bytes", l.max_packet_bytes);
  w.field("max_body_bytes", l.max_body_bytes);
  w.field("max_body_depth", l.max_body_depth);
  w.field("max_positions", l.max_positions);
  w.field("max_pending_sends", l.max_pending_sends);
  w.field("max_history_limit", l.max_history_limit);
  w.field("max_sync_limit", l.max_sync_limit);
  w.field("max_unacked_conversations", l.max_unacked_conversations);
  w.end_object();
}

// The fields of each reply, push and command, inside the braces that the caller writes.
void fields(JsonWriter& w, const ErrorReply& r) {
  w.field("code", r.code);
  w.field("name", r.name);
  w.field("message", r.message);
  w.field("temporary", r.temporary);
  w.field("retry_after_ms", r.retry_after_ms);
}

void fields(JsonWriter& w, const ConnectReply& r) {
  w.field("session", r.session);
  w.field("epoch", r.epoch);
  w.field("user", r.user);
  w.field("device", r.device);
  w.field("time_ms", r.time_ms);
  w.field("heartbeat_interval_ms", r.heartbeat_interval_ms);
  w.key("limits");
  write(w, r.limits);
  w.field("durability", durability_name(r.durability));
  w.field("resume", resume_name(r.resume));
  optional_field(w, "reason", r.reason);
  write_array(w, "changed", r.changed);
  write_array(w, "truncated", r.truncated);
  w.field("more", r.more);
  optional_field(w, "sync_token", r.sync_token);
}

void fields(JsonWriter& w, const RefreshReply& r) {
  w.field("expires_ms", r.expires_ms);
}
void fields(JsonWriter& w, const PingReply& r) {
  w.field("time_ms", r.time_ms);
}

void fields(JsonWriter& w, const SendReply& r) {
  w.field("conversation", r.conversation);
  w.field("seq", r.seq);
  w.field("time_ms", r.time_ms);
  w.field("durability", durability_name(r.durability));
  w.field("duplicate", r.duplicate);
}

void fields(JsonWriter& w, const AckReply& r) {
  optional_field(w, "sync_token", r.sync_token);
}
void fields(JsonWriter& w, const ReadReply& r) {
  w.field("read_seq", r.read_seq);
}

void fields(JsonWriter& w, const SyncReply& r) {
  write_array(w, "conversations", r.conversations);
  optional_field(w, "cursor", r.cursor);
  w.field("more", r.more);
  optional_field(w, "sync_token", r.sync_token);
  optional_field(w, "reset", r.reset);
}

void fields(JsonWriter& w, const HistoryReply& r) {
  write_array(w, "messages", r.messages);
  if (!r.gaps.empty()) write_array(w, "gaps", r.gaps);
  w.field("more", r.more);
}

void fields(JsonWriter&, const TypingReply&) {}
void fields(JsonWriter&, const LogoutReply&) {}

void fields(JsonWriter& w, const DevicesReply& r) {
  write_array(w, "devices", r.devices);
  w.field("more", r.more);
}

void fields(JsonWriter&, const ForgetDeviceReply&) {}

void fields(JsonWriter& w, const ReceiptPush& p) {
  w.field("conversation", p.conversation);
  w.field("user", p.user);
  optional_field(w, "delivered_seq", p.delivered_seq);
  optional_field(w, "read_seq", p.read_seq);
}

void fields(JsonWriter& w, const TypingPush& p) {
  w.field("conversation", p.conversation);
  w.field("from", p.from);
  w.field("active", p.active);
}

void fields(JsonWriter& w, const NoticePush& p) {
  w.field("name", p.name);
  w.field("text", p.text);
  optional_field(w, "device", p.device);
}

void fields(JsonWriter& w, const KickPush& p) {
  w.field("code", p.code);
  w.field("name", p.name);
  w.field("reconnect", reconnect_name(p.reconnect));
}

void fields(JsonWriter& w, const DrainPush& p) {
  w.field("delay_ms", p.delay_ms);
  optional_field(w, "url", p.url);
}

void target(JsonWriter& w, std::string_view user_field, const Target& t) {
  optional_field(w, user_field, t.user);
  optional_field(w, "conversation", t.conversation);
}

void fields(JsonWriter&, const MalformedRequest&) {
  CHECK(false);
}

void optional_strings(JsonWriter& w, std::string_view name, std::span<const std::string_view> strings) {
  if (strings.empty()) return;
  w.key(name);
  w.begin_array();
  for (std::string_view each : strings) w.string(each);
  w.end_array();
}

void fields(JsonWriter& w, const ConnectRequest& r) {
  w.field("token", r.token);
  w.field("device", r.device);
  optional_field(w, "platform", r.platform);
  optional_strings(w, "capabilities", r.capabilities);
  optional_field(w, "sync_token", r.sync_token);
  if (!r.open.empty()) write_array(w, "open", r.open);
}

void fields(JsonWriter& w, const RefreshRequest& r) {
  w.field("token", r.token);
}
void fields(JsonWriter&, const PingRequest&) {}
void fields(JsonWriter&, const LogoutRequest&) {}
void fields(JsonWriter&, const DevicesRequest&) {}

void fields(JsonWriter& w, const ForgetDeviceRequest& r) {
  w.field("device", r.device);
}

void fields(JsonWriter& w, const SendRequest& r) {
  target(w, "to", r.target);
  w.field("client_msg_id", r.client_msg_id);
  write_body(w, r.body, r.content_type);
  optional_field(w, "durability", durability_name(r.durability));
  optional_field(w, "transient", r.transient);
  optional_field(w, "abandon", r.abandon);
}

void fields(JsonWriter& w, const AckRequest& r) {
  write_array(w, "positions", r.positions);
}

void fields(JsonWriter& w, const ReadRequest& r) {
  w.field("conversation", r.conversation);
  w.field("seq", r.seq);
}

void fields(JsonWriter& w, const SyncRequest& r) {
  optional_field(w, "limit", std::uint64_t{r.limit});
  optional_field(w, "cursor", r.cursor);
  optional_field(w, "sync_token", r.sync_token);
  optional_strings(w, "conversations", r.conversations);
}

void fields(JsonWriter& w, const HistoryRequest& r) {
  target(w, "with", r.target);
  if (r.before_seq) w.field("before_seq", *r.before_seq);
  if (r.after_seq) w.field("after_seq", *r.after_seq);
  optional_field(w, "limit", std::uint64_t{r.limit});
}

void fields(JsonWriter& w, const TypingRequest& r) {
  target(w, "to", r.target);
  if (!r.active) w.field("active", false);
}

template <class T>
void write(JsonWriter& w, const T& packet) {
  w.begin_object();
  fields(w, packet);
  w.end_object();
}

void write(JsonWriter& w, const MessagePush& p) {
  write(w, p.message);
}
void write(JsonWriter& w, const GapPush& p) {
  write(w, p.gap);
}

}  // namespace

void append_json_reply(std::string& out, std::optional<RequestId> id, const ReplyBody& reply) {
  JsonWriter w(out);
  w.begin_object();
  if (id) w.field("id", *id);
  w.key(reply_name(reply));
  std::visit([&w](const auto& body) { write(w, body); }, reply);
  w.end_object();
}

void append_json_push(std::string& out, const Push& push) {
  JsonWriter w(out);
  w.begin_object();
  w.key(push_name(push));
  std::visit([&w](const auto& body) { write(w, body); }, push);
  w.end_object();
}

void append_json_request(std::string& out, const Request& request) {
  JsonWriter w(out);
  w.begin_object();
  if (request.id) w.field("id", *request.id);
  w.key(command_name(request.command));
  std::visit([&w](const auto& command) { write(w, command); }, request.command);
  w.end_object();
}

void append_json_message_push(std::string& out, const MessageView& message) {
  out.reserve(out.size() + message.body.size() + message.conversation.size() + message.from.size() + message.client_msg_id.size() + 160);
  out += "{\"message\":";
  JsonWriter w(out);
  write(w, message);
  out += '}';
}

void append_json_send_reply(std::string& out, std::optional<RequestId> id, const SendReply& reply) {
  JsonWriter w(out);
  w.begin_object();
  if (id) w.field("id", *id);
  w.key("send");
  write(w, reply);
  w.end_object();
}

}  // namespace dunlin::wire

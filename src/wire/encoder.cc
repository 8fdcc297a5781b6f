#include "wire/encoder.h"

#include "wire/base64.h"
#include "wire/json_encoder.h"
#include "wire/json_text.h"
#include "wire/json_writer.h"
#include "wire/protobuf_encoder.h"

namespace dunlin::wire {
namespace {

constexpr std::size_t kMaxDigits = 16;  // integers go up to 2^53-1
constexpr std::size_t kMaxVarint = 10;

}  // namespace

void append_reply(Encoding encoding, std::string& out, std::optional<RequestId> id, const ReplyBody& reply) {
  encoding == Encoding::Json ? append_json_reply(out, id, reply) : append_protobuf_reply(out, id, reply);
}

void append_push(Encoding encoding, std::string& out, const Push& push) {
  encoding == Encoding::Json ? append_json_push(out, push) : append_protobuf_push(out, push);
}

void append_request(Encoding encoding, std::string& out, const Request& request) {
  encoding == Encoding::Json ? append_json_request(out, request) : append_protobuf_request(out, request);
}

void append_message_push(Encoding encoding, std::string& out, const MessageView& message) {
  encoding == Encoding::Json ? append_json_message_push(out, message) : append_protobuf_message_push(out, message);
}

void append_send_reply(Encoding encoding, std::string& out, RequestId id, const SendReply& reply) {
  encoding == Encoding::Json ? append_json_send_reply(out, id, reply) : append_protobuf_send_reply(out, id, reply);
}

void append_error_reply(Encoding encoding, std::string& out, std::optional<RequestId> id, const Error& error,
                        std::uint64_t retry_after_ms) {
  append_reply(encoding, out, id, error_reply(error, retry_after_ms));
}

// JSON: the literal text of each field ({"conversation":"","seq":…), then what stands in it. Protobuf: a tag and a length or varint each.
std::size_t encoded_bytes_at_most(Encoding encoding, const MessageView& m) {
  if (encoding == Encoding::Protobuf) {
    return 8 * (1 + kMaxVarint) + m.conversation.size() + m.from.size() + m.client_msg_id.size() + m.body.size() + m.content_type.size();
  }
  constexpr std::size_t text =
      sizeof(R"({"conversation":,"seq":,"from":,"time_ms":,"client_msg_id":,"body_base64":"","content_type":,"transient":true},)");
  const std::size_t body = is_json_content_type(m.content_type) ? m.body.size() : base64_size(m.body.size());
  return text + 2 * kMaxDigits + json_string_size(m.conversation) + json_string_size(m.from) + json_string_size(m.client_msg_id) +
         json_string_size(m.content_type) + body;
}

std::size_t encoded_bytes_at_most(Encoding encoding, const GapView& gap) {
  if (encoding == Encoding::Protobuf) return 5 * (1 + kMaxVarint) + gap.conversation.size();
  constexpr std::size_t text = sizeof(R"({"conversation":,"from_seq":,"to_seq":,"reason":"not_visible"},)");
  return text + 2 * kMaxDigits + json_string_size(gap.conversation);
}

std::size_t encoded_bytes_at_most(Encoding encoding, const ConversationView& c) {
  const std::size_t last = c.last_message ? encoded_bytes_at_most(encoding, *c.last_message) : 0;
  if (encoding == Encoding::Protobuf) return 11 * (1 + kMaxVarint) + c.conversation.size() + c.kind.size() + c.with.size() + last;
  constexpr std::size_t text = sizeof(R"({"conversation":,"kind":,"with":,"head_seq":,"first_seq":,"read_seq":,"unread":,)"
                                      R"("peer_delivered_seq":,"peer_read_seq":,"last_message":},)");
  return text + 6 * kMaxDigits + json_string_size(c.conversation) + json_string_size(c.kind) + json_string_size(c.with) + last;
}

}  // namespace dunlin::wire

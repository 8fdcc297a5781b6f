#include "wire/json_encoder.h"

#include "base/check.h"
#include "wire/json_writing.h"

namespace dunlin::wire {
namespace {

// {"id":7,"<name>":<packet>}
template <class T>
void append(std::string& out, std::optional<RequestId> id, std::string_view name, const T& packet) {
  JsonWriter w(out);
  w.begin_object();
  if (id) w.field("id", *id);
  w.key(name);
  write(w, packet);
  w.end_object();
}

void append(std::string&, std::optional<RequestId>, std::string_view, const MalformedRequest&) {
  CHECK(false);
}

}  // namespace

void append_json_reply(std::string& out, std::optional<RequestId> id, const ReplyBody& reply) {
  std::visit([&](const auto& body) { append(out, id, body.kName, body); }, reply);
}

void append_json_push(std::string& out, const Push& push) {
  std::visit([&](const auto& body) { append(out, std::nullopt, body.kName, body); }, push);
}

void append_json_request(std::string& out, const Request& request) {
  std::visit([&](const auto& command) { append(out, request.id, command.kName, command); }, request.command);
}

void append_json_message_push(std::string& out, const MessageView& message) {
  out.reserve(out.size() + message.body.size() + message.conversation.size() + message.from.size() + message.client_msg_id.size() + 160);
  append(out, std::nullopt, MessagePush::kName, message);
}

void append_json_send_reply(std::string& out, std::optional<RequestId> id, const SendReply& reply) {
  append(out, id, SendReply::kName, reply);
}

}  // namespace dunlin::wire

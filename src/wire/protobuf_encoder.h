#pragma once

#include <optional>
#include <string>

#include "wire/packet.h"

namespace dunlin::wire {

// The Protobuf side of wire/encoder.h: one packet with its length before it.
void append_protobuf_reply(std::string& out, std::optional<RequestId> id, const ReplyBody& reply);
void append_protobuf_push(std::string& out, const Push& push);
void append_protobuf_request(std::string& out, const Request& request);
void append_protobuf_message_push(std::string& out, const MessageView& message);
void append_protobuf_send_reply(std::string& out, std::optional<RequestId> id, const SendReply& reply);

}  // namespace dunlin::wire

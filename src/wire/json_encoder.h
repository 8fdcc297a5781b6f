#pragma once

#include <optional>
#include <string>

#include "wire/packet.h"

namespace dunlin::wire {

// The JSON side of wire/encoder.h. Fields that are at their default and say nothing then (empty optional strings, false flags that
// docs/protocol/ calls optional) are left out.
void append_json_reply(std::string& out, std::optional<RequestId> id, const ReplyBody& reply);
void append_json_push(std::string& out, const Push& push);
void append_json_request(std::string& out, const Request& request);
void append_json_message_push(std::string& out, const MessageView& message);
void append_json_send_reply(std::string& out, std::optional<RequestId> id, const SendReply& reply);

}  // namespace dunlin::wire

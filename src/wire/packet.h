#pragma once

// All packets of protocol v1. docs/protocol/ is their specification, proto/dunlin/v1/ their schema, tests/vectors/ their bytes.
#include <optional>
#include <string_view>
#include <variant>

#include "wire/commands.h"
#include "wire/encoding.h"
#include "wire/pushes.h"
#include "wire/replies.h"

namespace dunlin::wire {

struct Request {
  std::optional<RequestId> id;
  Command command;
};

// id is absent only in an error that answers a packet without a readable id.
struct Reply {
  std::optional<RequestId> id;
  ReplyBody body;
};

// A packet from the server that the client could not read (a newer server's push, or damage).
struct UnknownPacket {
  Error error{ErrorCode::BadRequest};
};

// What a client receives.
struct ServerPacket {
  std::variant<UnknownPacket, Reply, Push> content;
};

// The name on the wire ("connect", "message", …); "malformed" for a packet that is no request.
std::string_view command_name(const Command& command);
std::string_view reply_name(const ReplyBody& reply);
std::string_view push_name(const Push& push);

// The error as a client may see it: internal codes lose their context (it names files), others keep it as message.
ErrorReply error_reply(const Error& error, std::uint64_t retry_after_ms = 0);

Reconnect reconnect_of(ErrorCode code);  // by the number's range alone
KickPush kick_push(ErrorCode code);

}  // namespace dunlin::wire

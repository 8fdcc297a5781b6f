#pragma once

// All packets of protocol v1. docs/protocol/ is their specification, proto/dunlin/v1/ their schema, tests/vectors/ their bytes.
#include <optional>
#include <variant>

#include "wire/encoding.h"
#include "wire/push.h"
#include "wire/reply.h"
#include "wire/request.h"

namespace dunlin::wire {

// A packet from the server that the client could not read (a newer server's push, or damage).
struct UnknownPacket {
  Error error{ErrorCode::BadRequest};
};

// What a client receives.
struct ServerPacket {
  std::variant<UnknownPacket, Reply, Push> content;
};

}  // namespace dunlin::wire

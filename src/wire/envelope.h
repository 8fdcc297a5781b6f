#pragma once

#include <cstdint>
#include <string_view>

#include "base/error.h"

// What all packets have, whichever command they hold. The packets themselves are made of proto/dunlin/v1/ (docs/design/packets.md).
namespace dunlin::wire {

// Chosen by the client for each request, 0 to 2^53-1; comes back in the reply. A request without one gets no reply unless it fails.
using RequestId = std::uint64_t;

inline constexpr std::uint64_t kMaxInteger = (std::uint64_t{1} << 53) - 1;  // what every JSON parser can hold exactly

// Messages go to a user or to a conversation; exactly one of the two is not empty.
struct Target {
  std::string_view user;
  std::string_view conversation;
};

// What a request's field holds when it named a value that the enum does not have; no request that is handled does.
template <class Enum>
inline constexpr Enum kNoSuchValue = static_cast<Enum>(0xff);

// A packet that is not a valid request. It is one of the commands so that a dispatcher cannot forget it: reply with the error.
struct MalformedRequest {
  static constexpr std::string_view kName = "malformed";
  Error error{ErrorCode::BadRequest};
};

}  // namespace dunlin::wire

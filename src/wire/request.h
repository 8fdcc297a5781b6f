#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <variant>

#include "base/error.h"

// What a client may ask, independent of the encoding. All views point into the frame's buffer or into memory of the decoder that
// made them: they are valid until that decoder's next call of next() or start(). A handler that waits copies what it needs.
// The decoder has checked types, ranges, ids (base/escape.h is_valid_id) and that a JSON body is complete JSON; whether an empty
// optional string is allowed is said at each field.
namespace dunlin::wire {

// Chosen by the client for each request, 0 to 2^53-1; comes back in the reply. A request without one gets no reply unless it fails.
using RequestId = std::uint64_t;

inline constexpr std::uint64_t kMaxInteger = (std::uint64_t{1} << 53) - 1;  // what every JSON parser can hold exactly

struct Position {
  std::string_view conversation;
  std::uint64_t seq = 0;
};

enum class Durability : std::uint8_t { Unspecified, None, Memory, Os, Fsync };  // None: a transient message, never stored
std::string_view durability_name(Durability durability);                        // "" for Unspecified
std::optional<Durability> parse_durability(std::string_view name);              // only memory, os, fsync, none

// Messages go to a user or to a conversation; exactly one of the two is not empty.
struct Target {
  std::string_view user;
  std::string_view conversation;
};

struct ConnectRequest {
  std::string_view token;
  std::string_view device;
  std::string_view platform;                       // free text for the operator, at most 64 bytes; may be empty
  std::span<const std::string_view> capabilities;  // optional features that the client understands; unknown ones are ignored
  std::string_view sync_token;                     // empty: none
  std::span<const Position> open;                  // conversations that the app has open, with the last seq that it has
};

struct RefreshRequest {
  std::string_view token;
};

struct PingRequest {};

struct SendRequest {
  Target target;
  std::string_view client_msg_id;
  std::string_view body;                            // JSON text in one line, verbatim otherwise; or any bytes when content_type is not JSON
  std::string_view content_type;                    // empty: application/json
  Durability durability = Durability::Unspecified;  // at least this, or the request fails
  bool transient = false;                           // never stored; to those who are online now
  bool abandon = false;                             // forgets the earlier refused send that makes this one retry_in_order
};

struct AckRequest {
  std::span<const Position> positions;  // cumulative: everything up to seq
};

struct ReadRequest {
  std::string_view conversation;
  std::uint64_t seq = 0;
};

struct SyncRequest {
  std::uint32_t limit = 0;                          // 0: the server's default
  std::string_view cursor;                          // of the page before; empty: first page
  std::string_view sync_token;                      // not empty: only what changed since
  std::span<const std::string_view> conversations;  // not empty: these and no others, and none of the fields above
};

// At most one of before_seq and after_seq; neither means the newest messages.
struct HistoryRequest {
  Target target;  // JSON: "conversation", or "with": a user
  std::optional<std::uint64_t> before_seq;
  std::optional<std::uint64_t> after_seq;
  std::uint32_t limit = 0;  // 0: the server's default
};

struct TypingRequest {
  Target target;
  bool active = true;
};

struct LogoutRequest {};

struct DevicesRequest {};

struct ForgetDeviceRequest {
  std::string_view device;
};

// A packet that is not a valid request. It is one of the alternatives so that a dispatcher cannot forget it: reply with the error.
struct MalformedRequest {
  Error error{ErrorCode::BadRequest};
};

using Command = std::variant<MalformedRequest, ConnectRequest, RefreshRequest, PingRequest, SendRequest, AckRequest, ReadRequest,
                             SyncRequest, HistoryRequest, TypingRequest, LogoutRequest, DevicesRequest, ForgetDeviceRequest>;

struct Request {
  std::optional<RequestId> id;
  Command command;
};

// The command's name on the wire ("connect", …); "malformed" for a packet that is none.
std::string_view command_name(const Command& command);

}  // namespace dunlin::wire

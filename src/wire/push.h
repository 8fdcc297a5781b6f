#pragma once

#include <cstdint>
#include <string_view>
#include <variant>

#include "base/error.h"
#include "wire/reply.h"

// What the server says unasked. A push has no id. Views are borrowed as in wire/reply.h.
namespace dunlin::wire {

struct MessagePush {
  MessageView message;
};

struct GapPush {
  GapView gap;
};

// How far a user's devices and the user himself have come; a coalesced hint, the truth is in sync. A seq of 0 says nothing.
struct ReceiptPush {
  std::string_view conversation;
  std::string_view user;
  std::uint64_t delivered_seq = 0;
  std::uint64_t read_seq = 0;
};

struct TypingPush {
  std::string_view conversation;
  std::string_view from;
  bool active = true;
};

// Words of the operator or the server for people or logs; the connection goes on.
struct NoticePush {
  std::string_view name;  // what a program may look at
  std::string_view text;
  std::string_view device;  // which it is about; empty: none
};

enum class Reconnect : std::uint8_t { Yes, AfterRefresh, Never };
std::string_view reconnect_name(Reconnect reconnect);
Reconnect reconnect_of(ErrorCode code);  // by the number's range alone

// The last packet before a close.
struct KickPush {
  std::uint32_t code = 0;
  std::string_view name;
  Reconnect reconnect = Reconnect::Yes;
};
KickPush kick_push(ErrorCode code);

// Finish what is in flight, then connect again after delay_ms, to url when it is not empty. A kick follows.
struct DrainPush {
  std::uint64_t delay_ms = 0;
  std::string_view url;
};

using Push = std::variant<MessagePush, GapPush, ReceiptPush, TypingPush, NoticePush, KickPush, DrainPush>;

// The push's name on the wire ("message", …).
std::string_view push_name(const Push& push);

}  // namespace dunlin::wire

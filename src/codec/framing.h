#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/shared_bytes.h"

namespace dunlin {

enum class MessageKind : std::uint8_t { Text, Binary };

// How messages are cut out of the byte stream of one connection.
enum class Framing : std::uint8_t {
  WebSocket,  // RFC 6455 frames, server side
  TcpLength,  // u32 big-endian length, payload
  TcpLines,   // JSON texts, each ended by a newline
};

// Largest header that any framing puts before a payload.
inline constexpr std::size_t kMaxFrameHeader = 10;

// Appends one message of the server, framed. With TcpLines the payload holds no newline (the writer of JSON sees to that).
void append_frame(std::string& out, Framing framing, MessageKind kind, std::string_view payload);

// The same as bytes that all recipients of one framing and kind share.
SharedBytes encode_frame(Framing framing, MessageKind kind, std::string_view payload);

}  // namespace dunlin

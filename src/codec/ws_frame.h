#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace dunlin {

enum class WsOpcode : std::uint8_t { Continuation = 0, Text = 1, Binary = 2, Close = 8, Ping = 9, Pong = 10 };

// RFC 6455 section 7.4
inline constexpr std::uint16_t kWsNormal = 1000;
inline constexpr std::uint16_t kWsProtocolError = 1002;
inline constexpr std::uint16_t kWsUnsupportedData = 1003;
inline constexpr std::uint16_t kWsNoStatus = 1005;  // never on the wire
inline constexpr std::uint16_t kWsInvalidPayload = 1007;
inline constexpr std::uint16_t kWsTooBig = 1009;
inline constexpr std::uint16_t kWsTryAgainLater = 1013;

inline constexpr std::size_t kWsMaxControlPayload = 125;

// True for codes that a close frame may carry: 1000-1003, 1007-1014 and 3000-4999.
bool is_sendable_close_code(std::uint16_t code);

// XORs `size` bytes with the mask (its four bytes in memory order), beginning `phase` bytes into it.
void apply_mask(char* data, std::size_t size, std::uint32_t mask, std::size_t phase = 0);

struct WsFrameOptions {
  bool fin = true;
  bool masked = false;     // clients mask
  std::uint32_t mask = 0;  // its four bytes in memory order; a client draws a new random one for each frame
};

// Appends one frame.
void append_ws_frame(std::string& out, WsOpcode opcode, std::string_view payload, WsFrameOptions options = {});

// Writes the header of an unmasked final frame to `out` (10 bytes at most) and returns its size.
std::size_t write_ws_header(char* out, WsOpcode opcode, std::size_t payload_size);

// Appends a close frame; the reason is cut to what fits, between characters. Code 1005 gives a frame without a code.
void append_ws_close(std::string& out, std::uint16_t code, std::string_view reason, WsFrameOptions options = {});

}  // namespace dunlin

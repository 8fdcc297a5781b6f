#include "codec/ws_frame.h"

#include <bit>
#include <cstring>

namespace dunlin {
namespace {

static_assert(std::endian::native == std::endian::little, "apply_mask rotates a little-endian mask");

constexpr std::uint8_t kFin = 0x80;
constexpr std::uint8_t kMasked = 0x80;

std::size_t write_header(char* out, WsOpcode opcode, std::uint64_t size, bool fin, bool masked) {
  const std::uint8_t mask_bit = masked ? kMasked : 0;
  out[0] = static_cast<char>((fin ? kFin : 0) | static_cast<std::uint8_t>(opcode));
  if (size < 126) {
    out[1] = static_cast<char>(mask_bit | size);
    return 2;
  }
  const int length_bytes = size <= 0xffff ? 2 : 8;
  out[1] = static_cast<char>(mask_bit | (length_bytes == 2 ? 126 : 127));
  for (int i = 0; i < length_bytes; ++i) out[2 + i] = static_cast<char>(size >> (8 * (length_bytes - 1 - i)));
  return 2 + static_cast<std::size_t>(length_bytes);
}

// The longest prefix of at most `max` bytes that does not end inside a character.
std::string_view cut_between_characters(std::string_view text, std::size_t max) {
  if (text.size() <= max) return text;
  while (max > 0 && (static_cast<std::uint8_t>(text[max]) & 0xc0) == 0x80) --max;
  return text.substr(0, max);
}

}  // namespace

bool is_sendable_close_code(std::uint16_t code) {
  return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
}

void apply_mask(char* data, std::size_t size, std::uint32_t mask, std::size_t phase) {
  const std::uint32_t turned = std::rotr(mask, static_cast<int>(8 * (phase & 3)));
  const std::uint64_t wide = std::uint64_t{turned} << 32 | turned;
  std::size_t i = 0;
  for (; i + 8 <= size; i += 8) {
    std::uint64_t word;
    std::memcpy(&word, data + i, sizeof word);
    word ^= wide;
    std::memcpy(data + i, &word, sizeof word);
  }
  for (std::uint32_t rest = turned; i < size; ++i, rest = std::rotr(rest, 8)) data[i] = static_cast<char>(data[i] ^ (rest & 0xff));
}

std::size_t write_ws_header(char* out, WsOpcode opcode, std::size_t payload_size) {
  return write_header(out, opcode, payload_size, true, false);
}

void append_ws_frame(std::string& out, WsOpcode opcode, std::string_view payload, WsFrameOptions options) {
  char header[14];
  std::size_t size = write_header(header, opcode, payload.size(), options.fin, options.masked);
  if (options.masked) {
    std::memcpy(header + size, &options.mask, 4);
    size += 4;
  }
  out.append(header, size);
  const std::size_t begin = out.size();
  out.append(payload);
  if (options.masked) apply_mask(out.data() + begin, payload.size(), options.mask);
}

void append_ws_close(std::string& out, std::uint16_t code, std::string_view reason, WsFrameOptions options) {
  if (code == kWsNoStatus) return append_ws_frame(out, WsOpcode::Close, {}, options);
  std::string payload{static_cast<char>(code >> 8), static_cast<char>(code & 0xff)};
  payload += cut_between_characters(reason, kWsMaxControlPayload - 2);
  append_ws_frame(out, WsOpcode::Close, payload, options);
}

}  // namespace dunlin

#include "codec/tcp_decoder.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "codec/padded_buffer.h"

namespace dunlin {
namespace {
constexpr std::size_t kLengthBytes = 4;

std::size_t read_length(const char* bytes) {
  std::size_t length = 0;
  for (std::size_t i = 0; i < kLengthBytes; ++i) length = length << 8 | static_cast<std::uint8_t>(bytes[i]);
  return length;
}
}  // namespace

struct TcpDecoder::Partial {
  std::array<char, kLengthBytes> length_bytes;
  std::uint8_t length_size = 0;
  bool in_payload = false;
  bool delivered = false;
  std::size_t length = 0;
  PaddedBuffer message;
};

TcpDecoder::TcpDecoder() = default;
TcpDecoder::~TcpDecoder() = default;

std::optional<Framing> TcpDecoder::framing_of(char first_byte) {
  if (first_byte == '{') return Framing::TcpLines;
  if (first_byte == 0) return Framing::TcpLength;
  return std::nullopt;
}

std::string_view TcpDecoder::wrong_first_byte_line() {
  return "{\"error\":{\"code\":4519,\"name\":\"unsupported_version\",\"message\":\"this port speaks packets with a u32 big-endian length "
         "before "
         "each, or "
         "lines of JSON that begin with {\",\"temporary\":false,\"retry_after_ms\":0}}\n";
}

TcpDecoder::Partial& TcpDecoder::partial() {
  if (!partial_) partial_ = std::make_unique<Partial>();
  return *partial_;
}

std::size_t TcpDecoder::pinned_bytes() const {
  return partial_ ? sizeof(Partial) + partial_->message.capacity() : 0;
}

void TcpDecoder::reset() {
  partial_.reset();
}

void TcpDecoder::release_delivered() {
  if (partial_ && partial_->delivered) partial_.reset();
}

TcpDecoder::Event TcpDecoder::next(Framing framing, std::size_t max_message_bytes, MutableBytes& input) {
  release_delivered();
  return framing == Framing::TcpLines ? next_line(max_message_bytes, input) : next_length(max_message_bytes, input);
}

TcpDecoder::Event TcpDecoder::next_length(std::size_t max, MutableBytes& input) {
  if (!partial_ && input.size >= kLengthBytes) {
    const std::size_t length = read_length(input.data);
    if (length > max) return {Type::TooLarge, {}};
    if (input.size - kLengthBytes >= length) {
      const MutableBytes payload{input.data + kLengthBytes, length};
      input.advance(kLengthBytes + length);
      return {Type::Message, payload};
    }
  }
  if (input.empty()) return {};
  Partial& now = partial();
  while (!now.in_payload) {
    if (input.empty()) return {};
    now.length_bytes[now.length_size++] = *input.data;
    input.advance(1);
    if (now.length_size < kLengthBytes) continue;
    now.in_payload = true;
    now.length = read_length(now.length_bytes.data());
    if (now.length > max) return {Type::TooLarge, {}};
  }
  const std::size_t count = std::min(now.length - now.message.size(), input.size);
  now.message.append({input.data, count}, now.length);
  input.advance(count);
  if (now.message.size() < now.length) return {};
  now.delivered = true;
  return {Type::Message, now.message.bytes()};
}

TcpDecoder::Event TcpDecoder::next_line(std::size_t max, MutableBytes& input) {
  while (!input.empty()) {
    const auto* newline = static_cast<const char*>(std::memchr(input.data, '\n', input.size));
    const std::size_t count = newline ? static_cast<std::size_t>(newline - input.data) : input.size;
    const std::size_t kept = partial_ ? partial_->message.size() : 0;
    if (kept + count > max + 1) return {Type::TooLarge, {}};  // a carriage return may be the last
    MutableBytes line{input.data, count};
    if (kept > 0 || !newline) {
      partial().message.append(line.view(), max + 1);
      line = partial_->message.bytes();
    }
    input.advance(newline ? count + 1 : count);
    if (!newline) return {};
    if (partial_) partial_->delivered = true;
    if (!line.empty() && line.data[line.size - 1] == '\r') --line.size;
    if (line.size > max) return {Type::TooLarge, {}};
    if (!line.empty()) return {Type::Message, line};
    release_delivered();
  }
  return {};
}

void append_length_frame(std::string& out, std::string_view payload) {
  append_frame(out, Framing::TcpLength, MessageKind::Binary, payload);
}

}  // namespace dunlin

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "codec/bytes.h"
#include "codec/framing.h"

namespace dunlin {

// Cuts messages out of a TCP stream: u32 big-endian length and payload, or lines of JSON. Like WsDecoder it hands complete messages out in
// place and keeps memory only for an incomplete one. After TooLarge it is used no more.
class TcpDecoder {
 public:
  enum class Type : std::uint8_t { NeedMore, Message, TooLarge };
  struct Event {
    Type type = Type::NeedMore;
    MutableBytes payload;  // without length or line end
  };

  TcpDecoder();
  ~TcpDecoder();
  TcpDecoder(const TcpDecoder&) = delete;
  TcpDecoder& operator=(const TcpDecoder&) = delete;

  // What the first byte of a connection says: '{' = lines, 0 = length (a legal length is below 16 MiB), else nothing that we speak.
  static std::optional<Framing> framing_of(char first_byte);
  // The one line that such a connection gets before it is closed.
  static std::string_view wrong_first_byte_line();

  Event next(Framing framing, std::size_t max_message_bytes, MutableBytes& input);
  std::size_t pinned_bytes() const;
  void reset();

 private:
  struct Partial;
  Event next_length(std::size_t max, MutableBytes& input);
  Event next_line(std::size_t max, MutableBytes& input);
  void release_delivered();
  Partial& partial();
  std::unique_ptr<Partial> partial_;
};

// Appends one message as a client or server sends it with a length.
void append_length_frame(std::string& out, std::string_view payload);

}  // namespace dunlin

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "codec/bytes.h"
#include "codec/framing.h"

namespace dunlin {

enum class WsRole : std::uint8_t { Server, Client };  // ours: a server gets masked frames, a client unmasked ones

struct WsLimits {
  WsRole role = WsRole::Server;
  std::uint64_t max_message_bytes = 65536;
  std::uint32_t max_fragments = 1024;
};

// Takes RFC 6455 frames out of a byte stream, strictly: reserved bits and opcodes, masking, minimal lengths, fragmentation with interleaved
// control frames, UTF-8 of text checked as it arrives, close codes, limits before anything is allocated.
//
// A complete unfragmented frame is handed out where it lies in the input, unmasked in place. Only what is incomplete is copied, into memory
// that exists no longer than the message: an idle decoder is one null pointer. No sockets, no clock; worker-bound like its connection.
// After Error or Close the decoder is used no more.
class WsDecoder {
 public:
  enum class Type : std::uint8_t { NeedMore, Message, Ping, Pong, Close, Error };
  struct Event {
    Type type = Type::NeedMore;
    MessageKind kind = MessageKind::Text;  // Message
    MutableBytes payload;                  // Message, Ping, Pong; Close: the reason. Valid until the next call or change of the input.
    std::uint16_t code = 0;                // Close: the peer's code, 1005 if none. Error: the code to close with (1002, 1007, 1009).
    const char* text = "";                 // Error: why
  };

  WsDecoder();
  ~WsDecoder();
  WsDecoder(const WsDecoder&) = delete;
  WsDecoder& operator=(const WsDecoder&) = delete;

  // The next event; takes what it used off the front of `input`. NeedMore means that all of it was used. kPayloadPadding bytes behind the
  // input must be readable if the receiver of payloads wants them so.
  Event next(const WsLimits& limits, MutableBytes& input);

  // Memory held for incomplete input.
  std::size_t pinned_bytes() const;
  // Gives everything back.
  void reset();

 private:
  struct Header;
  struct Partial;
  enum class HeaderStatus : std::uint8_t { Complete, NeedMore, Bad };

  HeaderStatus read_header(const WsLimits& limits, MutableBytes& input, Header& header, Event& error);
  HeaderStatus parse_header(const WsLimits& limits, std::string_view bytes, Header& header, Event& error) const;
  bool check_sequence(const WsLimits& limits, const Header& header, Event& error) const;
  void begin_frame(const Header& header);
  bool take_payload(MutableBytes& input, const WsLimits& limits, Event& event);
  bool finish_frame(Event& event);
  void release_delivered();
  Partial& partial();

  std::unique_ptr<Partial> partial_;
};

}  // namespace dunlin

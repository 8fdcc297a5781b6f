#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "wire/decoder_limits.h"
#include "wire/packet.h"

namespace dunlin::wire {

// Depth of everything in a JSON packet outside the body, unknown fields included.
inline constexpr std::uint32_t kMaxPacketDepth = 32;

// The bytes behind a payload that the JSON decoder may read (not write); their content does not matter.
inline constexpr std::size_t kDecoderPadding = 64;

// Turns one frame's payload into requests, one by one. One object for each worker and encoding, reused for all its connections: it
// keeps scratch memory (bounded by the largest payload), nothing of a connection. Not thread-safe.
//
//   decoder.start(payload);
//   while (decoder.next(request)) dispatch(request);
//
// Each packet stands for itself: a bad one gives a MalformedRequest (with its id if that could be read) and the next goes on.
// After bytes from which no next packet can be found (broken Protobuf lengths) one MalformedRequest ends the frame.
class Decoder {
 public:
  virtual ~Decoder() = default;

  // `payload` is changed in place (line breaks between the tokens of a body become spaces) and must stay alive and untouched until
  // the last request was used. kDecoderPadding bytes behind it must be readable.
  virtual void start(std::span<char> payload) = 0;

  // The next packet, or false at the end of the frame. Frees the views of the packet before.
  virtual bool next(Request& request) = 0;

  // What next() has not looked at yet, for a caller that must wait before it goes on: good for start_copy() later. Valid like the payload.
  virtual std::string_view rest() const = 0;

  // Copies the payload into a padded buffer of the decoder first: for tests, fuzzing and payloads that are not in a worker's buffer.
  virtual void start_copy(std::string_view payload) = 0;
};

std::unique_ptr<Decoder> make_decoder(Encoding encoding, const DecoderLimits& limits = {});

// The same for a client: replies and pushes. No limits but the payload's size.
class ServerPacketDecoder {
 public:
  virtual ~ServerPacketDecoder() = default;
  virtual void start(std::span<char> payload) = 0;
  virtual bool next(ServerPacket& packet) = 0;
  virtual void start_copy(std::string_view payload) = 0;
};

std::unique_ptr<ServerPacketDecoder> make_server_packet_decoder(Encoding encoding);

}  // namespace dunlin::wire

#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "wire/decoder.h"
#include "wire/encoder.h"

namespace dunlin::wire {

// What both fuzz targets of the decoders do: any bytes as a frame of `encoding`. What is accepted must survive a round trip through our
// own encoder; as server packets nothing may crash.
template <Encoding encoding>
void fuzz_round_trip(const std::uint8_t* data, std::size_t size) {
  static const auto decoder = make_decoder(encoding);
  static const auto again = make_decoder(encoding);
  static const auto server = make_server_packet_decoder(encoding);
  const std::string_view frame(reinterpret_cast<const char*>(data), size);
  decoder->start_copy(frame);
  Request request;
  while (decoder->next(request)) {
    if (std::holds_alternative<MalformedRequest>(request.command)) continue;
    std::string text;
    append_request(encoding, text, request);
    if (encoding == Encoding::Json) CHECK(text.find('\n') == std::string::npos);  // packets are separated by it
    again->start_copy(text);
    Request same;
    CHECK(again->next(same));
    CHECK(same.command.index() == request.command.index() && same.id == request.id);
    std::string second;
    append_request(encoding, second, same);
    CHECK(second == text);
  }
  server->start_copy(frame);
  ServerPacket packet;
  while (server->next(packet)) {
  }
}

}  // namespace dunlin::wire

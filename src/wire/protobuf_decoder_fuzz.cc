#include <cstddef>
#include <cstdint>
#include <string>

#include "base/check.h"
#include "wire/decoder.h"
#include "wire/encoder.h"

// Any bytes as a Protobuf frame. What is accepted must survive a round trip through our own encoder; as server packets nothing may crash.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace dunlin::wire;
  static const auto decoder = make_decoder(Encoding::Protobuf);
  static const auto again = make_decoder(Encoding::Protobuf);
  static const auto server = make_server_packet_decoder(Encoding::Protobuf);
  const std::string_view frame(reinterpret_cast<const char*>(data), size);
  decoder->start_copy(frame);
  Request request;
  while (decoder->next(request)) {
    if (std::holds_alternative<MalformedRequest>(request.command)) continue;
    std::string text;
    append_request(Encoding::Protobuf, text, request);
    again->start_copy(text);
    Request same;
    CHECK(again->next(same));
    CHECK(same.command.index() == request.command.index() && same.id == request.id);
    std::string second;
    append_request(Encoding::Protobuf, second, same);
    CHECK(second == text);
  }
  server->start_copy(frame);
  ServerPacket packet;
  while (server->next(packet)) {
  }
  return 0;
}

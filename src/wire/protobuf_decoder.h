#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "wire/decoder.h"

namespace dunlin::wire {

// The packets of one Protobuf frame: a varint length, then so many bytes, again and again.
class ProtobufFrame {
 public:
  void start(std::span<char> payload) { rest_ = {payload.data(), payload.size()}; }
  void start_copy(std::string_view payload);
  bool at_end() const { return rest_.empty(); }
  void drop_rest() { rest_ = {}; }
  std::string_view rest() const { return rest_; }

  // The next packet's bytes; nothing (and the rest of the frame dropped) if its length is broken.
  std::optional<std::string_view> next();

 private:
  std::string copy_;
  std::string_view rest_;
};

std::unique_ptr<Decoder> make_protobuf_decoder(const DecoderLimits& limits);
std::unique_ptr<ServerPacketDecoder> make_protobuf_server_decoder();

}  // namespace dunlin::wire

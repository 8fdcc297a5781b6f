#pragma once

#include "wire/body_fields.h"
#include "wire/decoder.h"
#include "wire/json_frame.h"

namespace dunlin::wire {

// Replies and pushes from JSON, for clients. Lenient: what a newer server adds is ignored.
class JsonServerDecoder final : public ServerPacketDecoder {
 public:
  JsonServerDecoder();

  void start(std::span<char> payload) override { frame_.start(payload); }
  void start_copy(std::string_view payload) override { frame_.start_copy(payload); }
  bool next(ServerPacket& packet) override;

 private:
  JsonFrame frame_;
  DecodedBodies bodies_;  // of the packet's messages
};

}  // namespace dunlin::wire

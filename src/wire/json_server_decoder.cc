#include "wire/json_server_decoder.h"

#include "wire/alternatives.h"
#include "wire/json_reading.h"

namespace dunlin::wire {

JsonServerDecoder::JsonServerDecoder() : frame_({.max_nodes = 1U << 20, .max_depth = kMaxPacketDepth, .max_body_depth = 64}) {}

bool JsonServerDecoder::next(ServerPacket& packet) {
  if (!frame_.next()) return false;
  bodies_.clear();
  std::optional<Error> error = frame_.error();
  const std::optional<RequestId> id = frame_.id();
  bool known = false;
  const JsonTree& tree = frame_.tree();
  for (const JsonNode* node = error ? nullptr : tree.child(tree.root()); node != nullptr; node = tree.next(*node)) {
    const auto read_packet = [&](auto& body) { read(JsonFields(tree, *node, body.kName, error), bodies_, body); };
    // An error may answer a packet without an id; everything else without one is a push.
    if (id || node->key == ErrorReply::kName) {
      if (!is_named<ReplyBody>(node->key)) continue;
      Reply& reply = packet.content.emplace<Reply>();
      reply.id = id;
      known = emplace_named(reply.body, node->key, read_packet);
    } else if (is_named<Push>(node->key)) {
      known = emplace_named(packet.content.emplace<Push>(), node->key, read_packet);
    }
  }
  if (!known && !error) error = Error(ErrorCode::UnknownCommand, "a packet of a newer server");
  if (error) packet.content = UnknownPacket{*std::move(error)};
  return true;
}

}  // namespace dunlin::wire

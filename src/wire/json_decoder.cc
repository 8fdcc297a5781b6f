#include "wire/json_decoder.h"

#include "wire/alternatives.h"
#include "wire/json_reading.h"
#include "wire/request_check.h"

namespace dunlin::wire {

JsonDecoder::JsonDecoder(const DecoderLimits& limits)
    : frame_({.max_nodes = 32768, .max_depth = kMaxPacketDepth, .max_body_depth = limits.max_body_depth}) {
  memory_.limits = limits;
}

void JsonDecoder::start(std::span<char> payload) {
  packets_ = 0;
  frame_.start(payload);
}

void JsonDecoder::start_copy(std::string_view payload) {
  packets_ = 0;
  frame_.start_copy(payload);
}

bool JsonDecoder::next(Request& request) {
  if (!frame_.next()) return false;
  request.id.reset();
  if (++packets_ > memory_.limits.max_packets) {
    frame_.drop_rest();
    request.command = MalformedRequest{Error(ErrorCode::TooLarge, "the frame has too many packets")};
    return true;
  }
  request.id = frame_.id();
  std::optional<Error> error = frame_.error() ? frame_.error() : decode(request);
  if (error) request.command = MalformedRequest{*std::move(error)};
  return true;
}

// A packet has one command: the first field with a known name. A second one is an error, since only one could be answered.
std::optional<Error> JsonDecoder::decode(Request& request) {
  std::optional<Error> error;
  const JsonNode* unknown = nullptr;
  std::string_view known;
  const JsonTree& tree = frame_.tree();
  for (const JsonNode* node = tree.child(tree.root()); node != nullptr && !error; node = tree.next(*node)) {
    if (node->key == "id") {
      if (node->kind != JsonKind::Integer && node->kind != JsonKind::Null) {
        return Error(ErrorCode::BadRequest, "id must be an integer from 0 to 9007199254740991");
      }
      continue;
    }
    if (!known.empty()) {
      if (is_named<Command>(node->key)) {
        return Error(ErrorCode::BadRequest,
                     "a packet holds one command, this one has " + std::string(known) + " and " + std::string(node->key));
      }
      continue;
    }
    const bool found = emplace_named(request.command, node->key, [&](auto& command) {
      known = command.kName;
      read(JsonFields(tree, *node, known, error), memory_, command);
    });
    if (!found && unknown == nullptr) unknown = node;
  }
  if (error) return error;
  if (known.empty()) {
    return Error(ErrorCode::UnknownCommand,
                 unknown == nullptr ? "the packet has no command" : "unknown command " + std::string(unknown->key.substr(0, 64)));
  }
  return check_request(request, memory_.limits);
}

}  // namespace dunlin::wire

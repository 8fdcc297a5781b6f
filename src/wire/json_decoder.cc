#include "wire/json_decoder.h"

#include "base/escape.h"
#include "wire/base64.h"
#include "wire/json_text.h"
#include "wire/request_check.h"

namespace dunlin::wire {

JsonDecoder::JsonDecoder(const DecoderLimits& limits)
    : limits_(limits), frame_({.max_nodes = 32768, .max_depth = kMaxPacketDepth, .max_body_depth = limits.max_body_depth}) {}

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
  if (++packets_ > limits_.max_packets) {
    frame_.drop_rest();
    request.command = MalformedRequest{Error(ErrorCode::TooLarge, "the frame has too many packets")};
    return true;
  }
  request.id = frame_.id();
  std::optional<Error> error = frame_.error() ? frame_.error() : decode(request);
  if (error) request.command = MalformedRequest{*std::move(error)};
  return true;
}

template <class T>
void JsonDecoder::read_as(const JsonFields& fields, Command& command) {
  read(fields, command.emplace<T>());
}

// A packet has one command: the first field with a known name. A second one is an error, since only one could be answered.
std::optional<Error> JsonDecoder::decode(Request& request) {
  using Read = void (JsonDecoder::*)(const JsonFields&, Command&);
  struct Name {
    std::string_view name;
    Read read;
  };
  static constexpr Name names[] = {
      {"send", &JsonDecoder::read_as<SendRequest>},       {"ack", &JsonDecoder::read_as<AckRequest>},
      {"ping", &JsonDecoder::read_as<PingRequest>},       {"read", &JsonDecoder::read_as<ReadRequest>},
      {"typing", &JsonDecoder::read_as<TypingRequest>},   {"history", &JsonDecoder::read_as<HistoryRequest>},
      {"sync", &JsonDecoder::read_as<SyncRequest>},       {"connect", &JsonDecoder::read_as<ConnectRequest>},
      {"refresh", &JsonDecoder::read_as<RefreshRequest>}, {"logout", &JsonDecoder::read_as<LogoutRequest>},
      {"devices", &JsonDecoder::read_as<DevicesRequest>}, {"forget_device", &JsonDecoder::read_as<ForgetDeviceRequest>},
  };
  std::optional<Error> error;
  const JsonNode* unknown = nullptr;
  const Name* known = nullptr;
  const JsonTree& tree = frame_.tree();
  for (const JsonNode* node = tree.child(tree.root()); node != nullptr && !error; node = tree.next(*node)) {
    if (node->key == "id") {
      if (node->kind != JsonKind::Integer && node->kind != JsonKind::Null) {
        return Error(ErrorCode::BadRequest, "id must be an integer from 0 to 9007199254740991");
      }
      continue;
    }
    const Name* found = nullptr;
    for (const Name& each : names) {
      if (each.name == node->key) found = &each;
    }
    if (found == nullptr) {
      if (unknown == nullptr) unknown = node;
    } else if (known != nullptr) {
      return Error(ErrorCode::BadRequest,
                   "a packet holds one command, this one has " + std::string(known->name) + " and " + std::string(node->key));
    } else {
      known = found;
      (this->*found->read)(JsonFields(tree, *node, found->name, error), request.command);
    }
  }
  if (error) return error;
  if (known == nullptr) {
    return Error(ErrorCode::UnknownCommand,
                 unknown == nullptr ? "the packet has no command" : "unknown command " + std::string(unknown->key.substr(0, 64)));
  }
  return check_request(request, limits_);
}

void JsonDecoder::read(const JsonFields& fields, ConnectRequest& connect) {
  fields.read("token", connect.token);
  fields.read("device", connect.device);
  fields.read("platform", connect.platform);
  fields.read("sync_token", connect.sync_token);
  read_strings(fields, "capabilities", limits_.max_capabilities);
  connect.capabilities = strings_;
  read_positions(fields, "open", "connect.open");
  connect.open = positions_;
}

void JsonDecoder::read_strings(const JsonFields& fields, std::string_view name, std::uint32_t max) {
  strings_.clear();
  fields.each(name, max, [&](const JsonNode& node) {
    if (node.kind != JsonKind::String) return fields.fail(name, "must be an array of strings");
    strings_.push_back(node.text);
  });
}

void JsonDecoder::read_positions(const JsonFields& fields, std::string_view name, std::string_view path) {
  positions_.clear();
  fields.each(name, limits_.max_positions, [&](const JsonNode& node) {
    const JsonFields entry = fields.inside(node, path);
    ConversationSeq& position = positions_.emplace_back();
    entry.read("conversation", position.conversation);
    entry.read("seq", position.seq);
  });
}

void JsonDecoder::read(const JsonFields& fields, RefreshRequest& refresh) {
  fields.read("token", refresh.token);
}

void JsonDecoder::read(const JsonFields&, PingRequest&) {}

void JsonDecoder::read(const JsonFields& fields, SendRequest& send) {
  fields.read("to", send.target.user);
  fields.read("conversation", send.target.conversation);
  fields.read("client_msg_id", send.client_msg_id);
  fields.read("content_type", send.content_type);
  fields.read("transient", send.transient);
  fields.read("abandon", send.abandon);
  std::string_view durability;
  fields.read("durability", durability);
  if (!durability.empty()) {
    const std::optional<Durability> level = parse_durability(durability);
    if (!level || *level == Durability::None) return fields.fail("durability", "must be memory, os or fsync");
    send.durability = *level;
  }
  read_body(fields, send);
}

void JsonDecoder::read_body(const JsonFields& fields, SendRequest& send) {
  const JsonNode* body = fields.find("body");
  std::string_view text;
  fields.read("body_base64", text);
  if (body != nullptr && !text.empty()) return fields.fail("body", "and body_base64 exclude each other");
  if (body != nullptr) {
    if (!is_json_content_type(send.content_type)) return fields.fail("body_base64", "is the field for a body of this content_type");
    send.body = body->text;
  } else if (!text.empty()) {
    if (is_json_content_type(send.content_type)) return fields.fail("content_type", "must name what body_base64 holds, and not JSON");
    bytes_.clear();
    if (!decode_base64(bytes_, text)) return fields.fail("body_base64", "is not base64 with padding");
    send.body = bytes_;
  }
}

void JsonDecoder::read(const JsonFields& fields, AckRequest& ack) {
  read_positions(fields, "positions", "ack.positions");
  ack.positions = positions_;
}

void JsonDecoder::read(const JsonFields& fields, ReadRequest& read) {
  fields.read("conversation", read.conversation);
  fields.read("seq", read.seq);
}

void JsonDecoder::read(const JsonFields& fields, SyncRequest& sync) {
  fields.read("limit", sync.limit);
  fields.read("cursor", sync.cursor);
  fields.read("sync_token", sync.sync_token);
  read_strings(fields, "conversations", limits_.max_positions);
  sync.conversations = strings_;
}

void JsonDecoder::read(const JsonFields& fields, HistoryRequest& history) {
  fields.read("conversation", history.target.conversation);
  fields.read("with", history.target.user);
  fields.read("before_seq", history.before_seq);
  fields.read("after_seq", history.after_seq);
  fields.read("limit", history.limit);
}

void JsonDecoder::read(const JsonFields& fields, TypingRequest& typing) {
  fields.read("to", typing.target.user);
  fields.read("conversation", typing.target.conversation);
  fields.read("active", typing.active);
}

void JsonDecoder::read(const JsonFields&, LogoutRequest&) {}

void JsonDecoder::read(const JsonFields&, DevicesRequest&) {}

void JsonDecoder::read(const JsonFields& fields, ForgetDeviceRequest& forget) {
  fields.read("device", forget.device);
}

}  // namespace dunlin::wire

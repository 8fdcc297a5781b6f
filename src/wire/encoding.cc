#include "wire/encoding.h"

namespace dunlin::wire {

std::optional<Encoding> encoding_of_subprotocol(std::string_view name) {
  if (name == kJsonSubprotocol) return Encoding::Json;
  if (name == kProtobufSubprotocol) return Encoding::Protobuf;
  return std::nullopt;
}

std::string_view subprotocol_name(Encoding encoding) {
  return encoding == Encoding::Json ? kJsonSubprotocol : kProtobufSubprotocol;
}

Encoding encoding_of_first_payload(std::string_view payload) {
  if (payload.empty() || payload[0] != '{') return Encoding::Protobuf;
  if (payload.size() == 1) return Encoding::Json;
  const char second = payload[1];
  const bool json = second == '"' || second == '}' || second == ' ' || second == '\t' || second == '\n' || second == '\r';
  return json ? Encoding::Json : Encoding::Protobuf;
}

std::string_view packet_separator(Encoding encoding) {
  return encoding == Encoding::Json ? "\n" : "";
}

std::string_view encoding_name(Encoding encoding) {
  return encoding == Encoding::Json ? "json" : "protobuf";
}

}  // namespace dunlin::wire

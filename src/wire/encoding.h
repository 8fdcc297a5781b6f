#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace dunlin::wire {

// How packets are written on one connection; fixed for the connection's life.
enum class Encoding : std::uint8_t { Json, Protobuf };

inline constexpr std::string_view kJsonSubprotocol = "dunlin.v1.json";
inline constexpr std::string_view kProtobufSubprotocol = "dunlin.v1.protobuf";

// WebSocket: the encoding of an offered subprotocol; nothing for names that are not ours. JSON is used when none is offered.
std::optional<Encoding> encoding_of_subprotocol(std::string_view name);
std::string_view subprotocol_name(Encoding encoding);

// TCP: the first payload's first byte chooses. No Protobuf packet begins with '{': it would be a length of 123 bytes, which
// is why the first Protobuf payload of a connection must hold a connect of another size, or be padded by an unknown field.
Encoding encoding_of_first_byte(char first);

// What stands between two packets of one frame: JSON packets have a newline, Protobuf ones bring their length with them.
std::string_view packet_separator(Encoding encoding);

// "json" and "protobuf", for metrics and logs.
std::string_view encoding_name(Encoding encoding);

}  // namespace dunlin::wire

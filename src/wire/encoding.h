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

// TCP: the first payload chooses: '{' and then '"', '}' or white space is JSON, all else Protobuf. The second byte matters because a
// Protobuf packet of 123 bytes also begins with '{'; no field of Request can give such a second byte (proto/dunlin/v1/packets.proto).
Encoding encoding_of_first_payload(std::string_view payload);

// What stands between two packets of one frame: JSON packets have a newline, Protobuf ones bring their length with them.
std::string_view packet_separator(Encoding encoding);

// "json" and "protobuf", for metrics and logs.
std::string_view encoding_name(Encoding encoding);

}  // namespace dunlin::wire

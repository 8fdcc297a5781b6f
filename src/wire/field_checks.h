#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string_view>

#include "base/error.h"
#include "wire/decoder_limits.h"
#include "wire/envelope.h"

// The rule of each kind of field (FieldRule.Kind in proto/dunlin/v1/options.proto). `field` names it in the error, as JSON does.
namespace dunlin::wire {

std::optional<Error> bad(std::string_view field, std::string_view problem);

// What is said of one that breaks its rule.
std::optional<Error> bad_conversation(std::string_view field, std::string_view conversation);
std::optional<Error> bad_seq(std::string_view field, std::uint64_t seq);
std::optional<Error> bad_size(std::string_view field, std::size_t size, std::size_t limit);
std::optional<Error> bad_count(std::string_view field, std::size_t limit);

inline constexpr std::size_t kMaxConversationBytes = 255;

std::optional<Error> check_id(std::string_view field, std::string_view id);
inline std::optional<Error> check_conversation(std::string_view field, std::string_view conversation) {
  if (!conversation.empty() && conversation.size() <= kMaxConversationBytes) return std::nullopt;
  return bad_conversation(field, conversation);
}
inline std::optional<Error> check_seq(std::string_view field, std::uint64_t seq) {
  if (seq != 0 && seq <= kMaxInteger) return std::nullopt;
  return bad_seq(field, seq);
}
inline std::optional<Error> check_integer(std::string_view field, std::uint64_t value) {
  if (value <= kMaxInteger) return std::nullopt;
  return bad_seq(field, value);
}
inline std::optional<Error> check_size(std::string_view field, std::size_t size, std::size_t limit) {
  if (size <= limit) return std::nullopt;
  return bad_size(field, size, limit);
}
inline std::optional<Error> check_count(std::string_view field, std::size_t count, std::size_t limit) {
  if (count <= limit) return std::nullopt;
  return bad_count(field, limit);
}
std::optional<Error> check_body_size(std::string_view field, std::string_view body, std::size_t limit);

// Makes "application/json" empty.
std::optional<Error> check_content_type(std::string_view field, std::string_view& content_type);

// `prefix` is the command with a dot; `user_field` is "to" or "with".
std::optional<Error> check_target(std::string_view prefix, std::string_view user_field, const Target& target);

// Of a body from Protobuf: one of a JSON type is held to what JSON connections can carry, and is put on one line where it stands. Too large
// or none is for check_body_size.
std::optional<Error> check_json_body(std::string_view field, std::string_view body, std::string_view content_type,
                                     const DecoderLimits& limits);

template <class Enum>
bool is_one_of(Enum value, std::initializer_list<Enum> allowed) {
  return std::find(allowed.begin(), allowed.end(), value) != allowed.end();
}

}  // namespace dunlin::wire

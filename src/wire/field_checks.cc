#include "wire/field_checks.h"

#include <string>

#include "base/escape.h"
#include "wire/json_text.h"

namespace dunlin::wire {
namespace {

using Problem = std::optional<Error>;

constexpr std::size_t kMaxContentTypeBytes = 127;

Problem bad_id(std::string_view field, std::string_view id) {
  return id.empty() ? bad(field, "is missing") : bad(field, "must be 1 to 64 bytes of UTF-8 without control characters");
}

Problem too_large(std::string_view field, const std::string& problem) {
  return Error(ErrorCode::TooLarge, std::string(field) + problem);
}

}  // namespace

Problem bad(std::string_view field, std::string_view problem) {
  return Error(ErrorCode::BadRequest, std::string(field) + " " + std::string(problem));
}

Problem check_id(std::string_view field, std::string_view id) {
  return is_valid_id(id) ? std::nullopt : bad_id(field, id);
}

Problem bad_conversation(std::string_view field, std::string_view conversation) {
  return bad(field, conversation.empty() ? "is missing" : "is longer than any conversation id");
}

Problem bad_seq(std::string_view field, std::uint64_t seq) {
  return bad(field, seq == 0 ? "must be 1 or more" : "must be at most 9007199254740991");
}

Problem bad_size(std::string_view field, std::size_t size, std::size_t limit) {
  return too_large(field, " has " + std::to_string(size) + " bytes, at most " + std::to_string(limit));
}

Problem bad_count(std::string_view field, std::size_t limit) {
  return too_large(field, " has more than " + std::to_string(limit) + " elements");
}

Problem check_body_size(std::string_view field, std::string_view body, std::size_t limit) {
  if (body.empty()) return bad(field, "is missing");
  return check_size(field, body.size(), limit);
}

Problem check_content_type(std::string_view field, std::string_view& content_type) {
  if (content_type == "application/json") content_type = {};
  const auto printable = [](char c) { return c >= 0x20 && c < 0x7f; };
  if (content_type.size() <= kMaxContentTypeBytes && std::all_of(content_type.begin(), content_type.end(), printable)) return std::nullopt;
  return bad(field, "must be at most 127 bytes of printable ASCII");
}

Problem check_target(std::string_view prefix, std::string_view user_field, const Target& target) {
  if (target.user.empty() == target.conversation.empty()) {
    return bad(std::string(prefix) + std::string(user_field),
               "or " + std::string(prefix) + "conversation must be given, and only one of them");
  }
  if (!target.conversation.empty()) return check_conversation(std::string(prefix) + "conversation", target.conversation);
  return is_valid_id(target.user) ? std::nullopt : bad_id(std::string(prefix) + std::string(user_field), target.user);
}

Problem check_json_body(std::string_view field, std::string_view body, std::string_view content_type, const DecoderLimits& limits) {
  if (body.empty() || body.size() > limits.max_body_bytes || !is_json_content_type(content_type)) return std::nullopt;
  if (!is_valid_utf8(body)) return bad(field, "is not valid UTF-8");
  char* begin = const_cast<char*>(body.data());  // the payload, which a decoder may change
  JsonTextEnd result;
  if (is_json_text(begin, begin + body.size(), limits.max_body_depth, result)) return std::nullopt;
  return Error(ErrorCode::BadRequest, std::string(field) + ": " + result.problem);
}

}  // namespace dunlin::wire

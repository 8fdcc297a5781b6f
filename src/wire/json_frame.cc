#include "wire/json_frame.h"

#include <charconv>
#include <cstring>

#include "wire/decoder.h"

namespace dunlin::wire {
namespace {

bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

// The id of a packet whose text is broken further on, when it begins as most do: {"id":7,
std::optional<std::uint64_t> leading_id(std::string_view text) {
  const auto skip = [&text](std::string_view token) {
    while (!text.empty() && is_space(text[0])) text.remove_prefix(1);
    if (!text.starts_with(token)) return false;
    text.remove_prefix(token.size());
    return true;
  };
  if (!skip("{") || !skip("\"id\"") || !skip(":")) return std::nullopt;
  skip("");
  std::uint64_t id = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (failure != std::errc() || id > kMaxInteger || end == text.data() + text.size()) return std::nullopt;
  return *end == ',' || *end == '}' || is_space(*end) ? std::optional(id) : std::nullopt;
}

}  // namespace

void JsonFrame::start(std::span<char> payload) {
  at_ = payload.data();
  end_ = at_ + payload.size();
  lines_only_ = false;
}

void JsonFrame::start_copy(std::string_view payload) {
  copy_.assign(payload);
  copy_.append(kDecoderPadding, '\0');
  start({copy_.data(), payload.size()});
}

bool JsonFrame::next() {
  while (at_ != end_ && is_space(*at_)) ++at_;
  if (at_ == end_) return false;
  error_.reset();
  void* newline = std::memchr(at_, '\n', static_cast<std::size_t>(end_ - at_));
  char* line_end = newline == nullptr ? end_ : static_cast<char*>(newline);
  bool valid = parse(line_end);
  if (!valid && line_end != end_ && !lines_only_ && *at_ == '{') {
    char* packet_end = extent();
    if (packet_end == nullptr) {
      lines_only_ = true;
    } else if (packet_end > line_end) {
      line_end = packet_end;
      valid = parse(line_end);
    }
  }
  if (!valid) error_ = describe();
  at_ = line_end;
  return true;
}

bool JsonFrame::parse(char* end) {
  packet_ = {at_, static_cast<std::size_t>(end - at_)};
  return *at_ == '{' && tree_.parse(at_, packet_.size());
}

// Behind the bracket that closes the one at at_; at_ itself if a string has a line break in it; nullptr if none closes it.
char* JsonFrame::extent() const {
  std::size_t depth = 0;
  bool in_string = false;
  for (char* at = at_; at != end_; ++at) {
    const char c = *at;
    if (in_string) {
      if (c == '\n') return at_;
      if (c == '"') in_string = false;
      if (c == '\\' && at + 1 != end_) ++at;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      ++depth;
    } else if ((c == '}' || c == ']') && --depth == 0) {
      return at + 1;
    }
  }
  return nullptr;
}

Error JsonFrame::describe() const {
  if (packet_[0] != '{') return Error(ErrorCode::BadRequest, "a packet must be a JSON object");
  const std::string problem = tree_.problem();
  switch (tree_.error()) {
    case JsonTreeError::TooDeep: return Error(ErrorCode::BadRequest, "packet: " + problem + " (at most 32 levels)");
    case JsonTreeError::TooMany: return Error(ErrorCode::TooLarge, "packet: " + problem);
    case JsonTreeError::Body: return Error(ErrorCode::BadRequest, "body: " + problem);
    case JsonTreeError::BodyTooDeep: return Error(ErrorCode::BadRequest, "body: " + problem + " (max_body_depth)");
    case JsonTreeError::None:
    case JsonTreeError::Invalid: break;
  }
  return Error(ErrorCode::BadRequest, "packet: " + problem);
}

std::optional<std::uint64_t> JsonFrame::id() const {
  if (packet_.empty() || packet_[0] != '{') return std::nullopt;
  for (const JsonNode* node = tree_.child(tree_.root()); node != nullptr; node = tree_.next(*node)) {
    if (node->key == "id" && node->kind == JsonKind::Integer) return node->integer;
  }
  return error_ ? leading_id(packet_) : std::nullopt;
}

}  // namespace dunlin::wire

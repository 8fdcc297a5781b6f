#include "client/json_scan.h"

#include <charconv>

namespace dunlin::client {
namespace {

constexpr auto kEnd = std::string_view::npos;

bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

std::size_t skip_space(std::string_view text, std::size_t at) {
  while (at < text.size() && is_space(text[at])) ++at;
  return at;
}

// `at` is an opening quote; returns the place behind the closing one, or kEnd.
std::size_t skip_string(std::string_view text, std::size_t at) {
  for (++at; at < text.size(); ++at) {
    if (text[at] == '"') return at + 1;
    if (text[at] == '\\') ++at;
  }
  return kEnd;
}

std::size_t skip_nested(std::string_view text, std::size_t at) {
  int depth = 0;
  while (at < text.size()) {
    const char c = text[at];
    if (c == '"') {
      at = skip_string(text, at);
      if (at == kEnd) return kEnd;
      continue;
    }
    ++at;
    if (c == '{' || c == '[') ++depth;
    if ((c == '}' || c == ']') && --depth == 0) return at;
  }
  return kEnd;
}

std::size_t skip_value(std::string_view text, std::size_t at) {
  if (at >= text.size()) return kEnd;
  if (text[at] == '"') return skip_string(text, at);
  if (text[at] == '{' || text[at] == '[') return skip_nested(text, at);
  const std::size_t begin = at;
  while (at < text.size() && text[at] != ',' && text[at] != '}' && text[at] != ']' && !is_space(text[at])) ++at;
  return at == begin ? kEnd : at;
}

}  // namespace

ObjectScanner::ObjectScanner(std::string_view object) : text_(object), at_(skip_space(object, 0)) {
  failed_ = at_ >= text_.size() || text_[at_] != '{';
  if (!failed_) at_ = skip_space(text_, at_ + 1);
}

bool ObjectScanner::next() {
  if (failed_ || at_ >= text_.size()) {
    failed_ = true;
    return false;
  }
  if (text_[at_] == '}') return false;
  if (!first_) {
    if (text_[at_] != ',') {
      failed_ = true;
      return false;
    }
    at_ = skip_space(text_, at_ + 1);
  }
  first_ = false;
  const std::size_t name_end = at_ < text_.size() && text_[at_] == '"' ? skip_string(text_, at_) : kEnd;
  const std::size_t colon = name_end == kEnd ? kEnd : skip_space(text_, name_end);
  if (colon == kEnd || colon >= text_.size() || text_[colon] != ':') {
    failed_ = true;
    return false;
  }
  name_ = text_.substr(at_ + 1, name_end - at_ - 2);
  const std::size_t start = skip_space(text_, colon + 1);
  const std::size_t end = skip_value(text_, start);
  if (end == kEnd) {
    failed_ = true;
    return false;
  }
  value_ = text_.substr(start, end - start);
  at_ = skip_space(text_, end);
  return true;
}

std::optional<std::string_view> member(std::string_view object, std::string_view name) {
  ObjectScanner scanner(object);
  while (scanner.next()) {
    if (scanner.name() == name) return scanner.value();
  }
  return std::nullopt;
}

std::optional<std::uint64_t> as_number(std::string_view raw) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(raw.data(), raw.data() + raw.size(), value);
  if (error != std::errc() || end != raw.data() + raw.size()) return std::nullopt;
  return value;
}

std::string_view as_raw_string(std::string_view raw) {
  if (raw.size() < 2 || raw.front() != '"' || raw.back() != '"') return {};
  return raw.substr(1, raw.size() - 2);
}

std::optional<ScannedPacket> scan_packet(std::string_view json) {
  ScannedPacket packet;
  ObjectScanner scanner(json);
  while (scanner.next()) {
    if (scanner.name() == "id") {
      packet.id = as_number(scanner.value());
    } else if (packet.kind.empty()) {
      packet.kind = scanner.name();
      packet.content = scanner.value();
    }
  }
  if (scanner.failed() || packet.kind.empty()) return std::nullopt;
  return packet;
}

}  // namespace dunlin::client

#include "client/text_body.h"

#include <fmt/format.h>

#include <charconv>

#include "base/escape.h"
#include "client/json_scan.h"

namespace dunlin::client {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";  // U+FFFD

void append_utf8(std::string& out, std::uint32_t point) {
  if (point < 0x80) {
    out += static_cast<char>(point);
  } else if (point < 0x800) {
    out += static_cast<char>(0xc0 | point >> 6);
    out += static_cast<char>(0x80 | (point & 0x3f));
  } else if (point < 0x10000) {
    out += static_cast<char>(0xe0 | point >> 12);
    out += static_cast<char>(0x80 | (point >> 6 & 0x3f));
    out += static_cast<char>(0x80 | (point & 0x3f));
  } else {
    out += static_cast<char>(0xf0 | point >> 18);
    out += static_cast<char>(0x80 | (point >> 12 & 0x3f));
    out += static_cast<char>(0x80 | (point >> 6 & 0x3f));
    out += static_cast<char>(0x80 | (point & 0x3f));
  }
}

// The four hex digits at `at`, if they are.
std::optional<std::uint32_t> hex4(std::string_view text, std::size_t at) {
  if (at + 4 > text.size()) return std::nullopt;
  std::uint32_t value = 0;
  const char* end = text.data() + at + 4;
  const auto result = std::from_chars(text.data() + at, end, value, 16);
  if (result.ptr != end) return std::nullopt;
  return value;
}

// Appends what \uXXXX at `at` (the backslash) stands for, a pair of surrogates included; returns the place behind it.
std::size_t append_unicode_escape(std::string& out, std::string_view text, std::size_t at) {
  const auto high = hex4(text, at + 2);
  if (!high) {
    out += kReplacement;
    return text.size();
  }
  const bool is_high = *high >= 0xd800 && *high < 0xdc00;
  const auto low = is_high && text.substr(at + 6, 2) == "\\u" ? hex4(text, at + 8) : std::nullopt;
  if (low && *low >= 0xdc00 && *low < 0xe000) {
    append_utf8(out, 0x10000 + ((*high - 0xd800) << 10) + (*low - 0xdc00));
    return at + 12;
  }
  if (*high >= 0xd800 && *high < 0xe000) {
    out += kReplacement;
  } else {
    append_utf8(out, *high);
  }
  return at + 6;
}

// How many bytes the UTF-8 character at the front has; 0 when it is broken.
std::size_t character_size(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text.front());
  const std::size_t size = lead < 0x80 ? 1 : (lead >> 5 == 6 ? 2 : (lead >> 4 == 14 ? 3 : 4));
  return size <= text.size() && is_valid_utf8(text.substr(0, size)) ? size : 0;
}

}  // namespace

std::string text_body(std::string_view text) {
  std::string out = R"({"text":")";
  while (!text.empty()) {
    const std::size_t size = character_size(text);
    const auto c = static_cast<unsigned char>(text.front());
    if (size == 0) {
      out += kReplacement;
    } else if (c < 0x20) {
      out += fmt::format("\\u{:04x}", c);
    } else {
      if (c == '"' || c == '\\') out += '\\';
      out += text.substr(0, size);
    }
    text.remove_prefix(std::max<std::size_t>(size, 1));
  }
  return out + "\"}";
}

std::optional<std::string> text_of_body(std::string_view body) {
  const auto text = member(body, "text");
  if (!text || text->size() < 2 || text->front() != '"') return std::nullopt;
  return unescape_json(as_raw_string(*text));
}

std::string unescape_json(std::string_view escaped) {
  std::string out;
  for (std::size_t at = 0; at < escaped.size();) {
    if (escaped[at] != '\\' || at + 1 == escaped.size()) {
      out += escaped[at++];
      continue;
    }
    const char kind = escaped[at + 1];
    if (kind == 'u') {
      at = append_unicode_escape(out, escaped, at);
      continue;
    }
    constexpr std::string_view kFrom = "bfnrt";
    constexpr std::string_view kTo = "\b\f\n\r\t";
    const std::size_t known = kFrom.find(kind);
    out += known == std::string_view::npos ? kind : kTo[known];
    at += 2;
  }
  return out;
}

std::string printable(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const std::size_t size = character_size(text);
    const auto c = static_cast<unsigned char>(text.front());
    const bool is_c1 = size == 2 && c == 0xc2 && static_cast<unsigned char>(text[1]) < 0xa0;
    if (size == 0) {
      out += kReplacement;
    } else if (c < 0x20 || c == 0x7f || is_c1) {
      out += ' ';
    } else {
      out += text.substr(0, size);
    }
    text.remove_prefix(std::max<std::size_t>(size, 1));
  }
  return out;
}

}  // namespace dunlin::client

#include "base/escape.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>

#include "base/ids.h"

namespace dunlin {
namespace {

constexpr std::size_t kMaxLogValue = 512;

// Length of the well-formed UTF-8 sequence at the start of `s` (RFC 3629 table 3-7), 0 if there is none.
std::size_t utf8_length(std::string_view s) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(s[i]); };
  const auto tail = [&](std::size_t i) { return i < s.size() && (byte(i) & 0xC0) == 0x80; };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return tail(1) ? 2 : 0;
  if (lead >= 0xE0 && lead <= 0xEF) {
    if (!tail(1) || !tail(2)) return 0;
    if (lead == 0xE0 && byte(1) < 0xA0) return 0;
    if (lead == 0xED && byte(1) > 0x9F) return 0;
    return 3;
  }
  if (lead >= 0xF0 && lead <= 0xF4) {
    if (!tail(1) || !tail(2) || !tail(3)) return 0;
    if (lead == 0xF0 && byte(1) < 0x90) return 0;
    if (lead == 0xF4 && byte(1) > 0x8F) return 0;
    return 4;
  }
  return 0;
}

bool is_c1_control(std::string_view sequence) {
  return sequence.size() == 2 && sequence[0] == '\xC2' && static_cast<unsigned char>(sequence[1]) < 0xA0;
}

void append_quoted(std::string& out, std::string_view value) {
  while (!value.empty()) {
    const auto c = static_cast<unsigned char>(value[0]);
    std::size_t length = utf8_length(value);
    if (c == '\n')
      out += "\\n";
    else if (c == '\r')
      out += "\\r";
    else if (c == '\t')
      out += "\\t";
    else if (c == '"' || c == '\\')
      (out += '\\') += value[0];
    else if (length == 0 || c < 0x20 || c == 0x7F || is_c1_control(value.substr(0, length))) {
      length = std::max<std::size_t>(length, 1);
      for (const char b : value.substr(0, length)) fmt::format_to(std::back_inserter(out), "\\x{:02x}", static_cast<unsigned char>(b));
    } else {
      out += value.substr(0, length);
    }
    value.remove_prefix(std::max<std::size_t>(length, 1));
  }
}

// How many bytes at the beginning are ASCII, looked at eight at a time: most text is nothing else.
std::size_t ascii_words(std::string_view bytes) {
  std::size_t size = 0;
  for (std::uint64_t word = 0; bytes.size() - size >= sizeof word; size += sizeof word) {
    std::memcpy(&word, bytes.data() + size, sizeof word);
    if ((word & 0x8080808080808080) != 0) break;
  }
  return size;
}

}  // namespace

void append_log_value(std::string& out, std::string_view value) {
  const bool cut = value.size() > kMaxLogValue;
  value = value.substr(0, kMaxLogValue);
  const bool plain = !value.empty() && std::all_of(value.begin(), value.end(),
                                                   [](char c) { return c > 0x20 && c < 0x7F && c != '"' && c != '\\' && c != '='; });
  if (plain) {
    out += value;
  } else {
    out += '"';
    append_quoted(out, value);
    out += '"';
  }
  if (cut) out += "...";
}

bool is_valid_utf8(std::string_view bytes) {
  while (true) {
    bytes.remove_prefix(ascii_words(bytes));
    if (bytes.empty()) return true;
    const std::size_t length = utf8_length(bytes);
    if (length == 0) return false;
    bytes.remove_prefix(length);
  }
}

bool is_valid_id(std::string_view bytes) {
  if (bytes.empty() || bytes.size() > kMaxIdBytes || !is_valid_utf8(bytes)) return false;
  return std::none_of(bytes.begin(), bytes.end(), [](char c) {
    const auto u = static_cast<unsigned char>(c);
    return u < 0x20 || u == 0x7F;
  });
}

}  // namespace dunlin

#include "wire/json_writer.h"

namespace dunlin::wire {
namespace {

// How many bytes a byte takes inside a JSON string. Only what RFC 8259 demands is escaped; UTF-8 goes out as it is.
constexpr std::array<std::uint8_t, 256> make_sizes() {
  std::array<std::uint8_t, 256> sizes{};
  for (std::size_t i = 0; i < sizes.size(); ++i) sizes[i] = i < 0x20 ? 6 : 1;
  for (char c : {'"', '\\', '\b', '\f', '\n', '\r', '\t'}) sizes[static_cast<unsigned char>(c)] = 2;
  return sizes;
}
constexpr auto kSizes = make_sizes();

void append_escape(std::string& out, char c) {
  switch (c) {
    case '"': out += "\\\""; return;
    case '\\': out += "\\\\"; return;
    case '\b': out += "\\b"; return;
    case '\f': out += "\\f"; return;
    case '\n': out += "\\n"; return;
    case '\r': out += "\\r"; return;
    case '\t': out += "\\t"; return;
    default: break;
  }
  constexpr std::string_view hex = "0123456789abcdef";
  const auto byte = static_cast<unsigned char>(c);
  out += "\\u00";
  out += hex[byte >> 4];
  out += hex[byte & 15];
}

}  // namespace

std::size_t json_string_size(std::string_view value) {
  std::size_t size = 2;
  for (char c : value) size += kSizes[static_cast<unsigned char>(c)];
  return size;
}

void JsonWriter::string(std::string_view value) {
  comma();
  fresh_ = false;
  out_ += '"';
  std::size_t done = 0;
  for (std::size_t i = 0; i < value.size(); ++i) {
    if (kSizes[static_cast<unsigned char>(value[i])] == 1) continue;
    out_ += value.substr(done, i - done);
    append_escape(out_, value[i]);
    done = i + 1;
  }
  out_ += value.substr(done);
  out_ += '"';
}

}  // namespace dunlin::wire

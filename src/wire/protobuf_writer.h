#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace dunlin::wire {

// Protobuf's wire format, written straight into the output. A field with its default value is left out, as proto3 does. For each field that
// is written there is the number of bytes that it takes, since a message stands behind its length.
class ProtobufWriter {
 public:
  explicit ProtobufWriter(std::string& out) : out_(out) {}

  static constexpr std::size_t varint_bytes(std::uint64_t value) {
    std::size_t size = 1;
    while (value >= 0x80) {
      value >>= 7;
      ++size;
    }
    return size;
  }
  static constexpr std::size_t tag_bytes(std::uint32_t field) { return varint_bytes(std::uint64_t{field} << 3); }

  void varint(std::uint64_t value) {
    char bytes[kMaxVarintBytes];
    out_.append(bytes, static_cast<std::size_t>(put(bytes, value) - bytes));
  }

  // A nested message: its tag and length; its fields follow.
  static constexpr std::size_t nested_bytes(std::uint32_t field, std::size_t size) { return tag_bytes(field) + varint_bytes(size) + size; }
  void nested(std::uint32_t field, std::size_t size) { pair(std::uint64_t{field} << 3 | 2, size); }

  static constexpr std::size_t text_bytes(std::uint32_t field, std::string_view value) {
    return value.empty() ? 0 : nested_bytes(field, value.size());
  }
  void text(std::uint32_t field, std::string_view value) {
    if (!value.empty()) element(field, value);
  }

  // An element of a list: also an empty one is written.
  void element(std::uint32_t field, std::string_view value) {
    nested(field, value.size());
    out_ += value;
  }

  static constexpr std::size_t number_bytes(std::uint32_t field, std::uint64_t value) {
    return value == 0 ? 0 : present_bytes(field, value);
  }
  void number(std::uint32_t field, std::uint64_t value) {
    if (value != 0) present(field, value);
  }

  // Of a field that can tell 0 from being absent.
  static constexpr std::size_t present_bytes(std::uint32_t field, std::uint64_t value) { return tag_bytes(field) + varint_bytes(value); }
  void present(std::uint32_t field, std::uint64_t value) { pair(std::uint64_t{field} << 3, value); }

 private:
  static constexpr std::size_t kMaxVarintBytes = 10;

  static char* put(char* at, std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) *at++ = static_cast<char>(value | 0x80);
    *at++ = static_cast<char>(value);
    return at;
  }
  void pair(std::uint64_t tag, std::uint64_t value) {
    char bytes[2 * kMaxVarintBytes];
    out_.append(bytes, static_cast<std::size_t>(put(put(bytes, tag), value) - bytes));
  }

  std::string& out_;
};

}  // namespace dunlin::wire

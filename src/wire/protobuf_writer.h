#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace dunlin::wire {

// Protobuf's wire format for the hot packets, written straight into the output. Each field with its default value is left out, as proto3
// does. Field numbers are those of proto/dunlin/v1/; the test vectors hold both to the generated classes.
class ProtobufWriter {
 public:
  explicit ProtobufWriter(std::string& out) : out_(out) {}

  static constexpr std::size_t varint_size(std::uint64_t value) {
    std::size_t size = 1;
    while (value >= 0x80) {
      value >>= 7;
      ++size;
    }
    return size;
  }
  static constexpr std::size_t bytes_size(std::uint32_t field, std::size_t size) {
    return size == 0 ? 0 : varint_size(std::uint64_t{field} << 3) + varint_size(size) + size;
  }
  static constexpr std::size_t number_size(std::uint32_t field, std::uint64_t value) {
    return value == 0 ? 0 : varint_size(std::uint64_t{field} << 3) + varint_size(value);
  }

  void varint(std::uint64_t value) {
    char bytes[10];
    std::size_t size = 0;
    while (value >= 0x80) {
      bytes[size++] = static_cast<char>(value | 0x80);
      value >>= 7;
    }
    bytes[size++] = static_cast<char>(value);
    out_.append(bytes, size);
  }
  // The tag and length of a nested message whose bytes follow.
  void nested(std::uint32_t field, std::size_t size) {
    varint(std::uint64_t{field} << 3 | 2);
    varint(size);
  }
  void bytes(std::uint32_t field, std::string_view value) {
    if (value.empty()) return;
    nested(field, value.size());
    out_ += value;
  }
  void number(std::uint32_t field, std::uint64_t value) {
    if (value == 0) return;
    varint(std::uint64_t{field} << 3);
    varint(value);
  }

 private:
  std::string& out_;
};

}  // namespace dunlin::wire

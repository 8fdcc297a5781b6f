#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace dunlin::embedded {

// Numbers as the rows of history and state hold them: big endian where bytes must sort as numbers do (keys), else LEB128 varints.

inline void put_be32(char* at, std::uint32_t value) {
  if constexpr (std::endian::native == std::endian::little) value = __builtin_bswap32(value);
  std::memcpy(at, &value, sizeof value);
}
inline void put_be64(char* at, std::uint64_t value) {
  if constexpr (std::endian::native == std::endian::little) value = __builtin_bswap64(value);
  std::memcpy(at, &value, sizeof value);
}
inline std::uint32_t get_be32(const char* at) {
  std::uint32_t value;
  std::memcpy(&value, at, sizeof value);
  if constexpr (std::endian::native == std::endian::little) value = __builtin_bswap32(value);
  return value;
}
inline std::uint64_t get_be64(const char* at) {
  std::uint64_t value;
  std::memcpy(&value, at, sizeof value);
  if constexpr (std::endian::native == std::endian::little) value = __builtin_bswap64(value);
  return value;
}
inline void append_be32(std::string& out, std::uint32_t value) {
  char bytes[4];
  put_be32(bytes, value);
  out.append(bytes, sizeof bytes);
}
inline void append_be64(std::string& out, std::uint64_t value) {
  char bytes[8];
  put_be64(bytes, value);
  out.append(bytes, sizeof bytes);
}

inline void append_varint(std::string& out, std::uint64_t value) {
  char bytes[10];
  std::size_t size = 0;
  for (; value >= 0x80; value >>= 7) bytes[size++] = static_cast<char>(value | 0x80);
  bytes[size++] = static_cast<char>(value);
  out.append(bytes, size);
}
inline void append_sized(std::string& out, std::string_view bytes) {
  append_varint(out, bytes.size());
  out.append(bytes);
}

// Takes numbers and strings off the front of bytes that nobody has checked. After the first shortage ok() is false and all further
// calls give zero or nothing; so a decoder reads everything first and asks once.
class ByteReader {
 public:
  explicit ByteReader(std::string_view bytes) : rest_(bytes) {}

  bool ok() const { return ok_; }
  std::string_view rest() const { return rest_; }

  std::uint8_t byte() { return static_cast<std::uint8_t>(take(1).empty() ? '\0' : last_[0]); }
  std::uint32_t be32() { return take(4).empty() ? 0 : get_be32(last_.data()); }
  std::uint64_t be64() { return take(8).empty() ? 0 : get_be64(last_.data()); }
  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      const std::uint8_t part = byte();
      value |= static_cast<std::uint64_t>(part & 0x7F) << shift;
      if (!(part & 0x80)) return ok_ ? value : 0;
    }
    fail();
    return 0;
  }
  std::string_view sized() { return take(varint()); }
  std::string_view take(std::uint64_t size) {
    last_ = {};
    if (!ok_ || size > rest_.size()) {
      fail();
      return {};
    }
    last_ = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return last_;
  }

 private:
  void fail() {
    ok_ = false;
    rest_ = {};
  }

  std::string_view rest_;
  std::string_view last_;
  bool ok_ = true;
};

}  // namespace dunlin::embedded

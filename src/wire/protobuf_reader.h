#pragma once

#include <cstdint>
#include <string_view>

#include "base/escape.h"

namespace dunlin::wire {

// The tags of a field: its number and how its value is written.
constexpr std::uint32_t number_tag(std::uint32_t field) {
  return field << 3;
}
constexpr std::uint32_t bytes_tag(std::uint32_t field) {
  return field << 3 | 2;
}

// One message in Protobuf's wire format, field by field. Views point into its bytes; nothing is allocated. It takes and refuses what
// libprotobuf does: what is known but written in another way is skipped like what is unknown.
//
//   while (in.next()) {
//     switch (in.tag()) {
//       case number_tag(1): to.seq = in.number(); break;
//       default: in.skip();
//     }
//   }
//   if (in.broken()) …
class ProtobufReader {
 public:
  explicit ProtobufReader(std::string_view bytes) : at_(bytes.data()), end_(at_ + bytes.size()) {}

  // Goes to the next field, of which one of the calls below must be made. False at the end, and when it is broken.
  bool next() {
    if (at_ == end_) return false;
    const std::uint64_t tag = varint(kMaxTagBytes);
    tag_ = static_cast<std::uint32_t>(tag);
    if (tag_ >> 3 == 0) fail();
    return !broken_;
  }
  std::uint32_t tag() const { return tag_; }

  // The value of a field with a number_tag: as it is, and as C++ cuts it down, which is Protobuf's rule too.
  std::uint64_t number() { return varint(kMaxVarintBytes); }
  std::uint32_t uint32() { return static_cast<std::uint32_t>(number()); }
  std::int32_t int32() { return static_cast<std::int32_t>(number()); }
  bool boolean() { return number() != 0; }

  // The value of a field with a bytes_tag; text() also demands UTF-8.
  std::string_view bytes() {
    const std::uint64_t size = varint(kMaxTagBytes);
    const char* begin = at_;
    pass(size);
    return broken_ ? std::string_view() : std::string_view(begin, size);
  }
  std::string_view text() {
    const std::string_view value = bytes();
    if (!is_valid_utf8(value)) fail();
    return value;
  }

  void skip();

  bool broken() const { return broken_; }
  void fail() {
    broken_ = true;
    at_ = end_;
  }

 private:
  static constexpr int kMaxTagBytes = 5;
  static constexpr int kMaxVarintBytes = 10;
  static constexpr int kMaxGroups = 100;  // inside each other, all of them unknown

  std::uint64_t varint(int max_bytes) {
    if (at_ != end_ && static_cast<signed char>(*at_) >= 0) return static_cast<std::uint64_t>(*at_++);
    return long_varint(max_bytes);
  }
  std::uint64_t long_varint(int max_bytes);
  void pass(std::uint64_t size) {
    if (size > static_cast<std::uint64_t>(end_ - at_)) return fail();
    at_ += size;
  }
  void skip_group();
  bool skip_value();

  const char* at_;
  const char* end_;
  std::uint32_t tag_ = 0;
  bool broken_ = false;
};

// A message inside another one: its fields go into `to`, which keeps what it has of an earlier one (Protobuf merges them).
template <class To>
void read_inside(ProtobufReader& in, To& to) {
  ProtobufReader inside(in.bytes());
  read(inside, to);
  if (inside.broken()) in.fail();
}
template <class Memory, class To>
void read_inside(ProtobufReader& in, Memory& memory, To& to) {
  ProtobufReader inside(in.bytes());
  read(inside, memory, to);
  if (inside.broken()) in.fail();
}

}  // namespace dunlin::wire

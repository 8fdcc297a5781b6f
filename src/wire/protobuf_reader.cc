#include "wire/protobuf_reader.h"

#include <array>

namespace dunlin::wire {
namespace {

// How a value is written: the low three bits of its tag.
enum class WireType : std::uint32_t { Varint = 0, Fixed64 = 1, Bytes = 2, Group = 3, EndOfGroup = 4, Fixed32 = 5 };

WireType wire_type(std::uint32_t tag) {
  return static_cast<WireType>(tag & 7);
}

}  // namespace

// Bits beyond the 64th are dropped, as libprotobuf does.
std::uint64_t ProtobufReader::long_varint(int max_bytes) {
  std::uint64_t value = 0;
  for (int i = 0; i < max_bytes && at_ != end_; ++i) {
    const auto byte = static_cast<unsigned char>(*at_++);
    value |= std::uint64_t{byte & 0x7fU} << (7 * i);
    if (byte < 0x80) return value;
  }
  fail();
  return 0;
}

void ProtobufReader::skip() {
  if (wire_type(tag_) == WireType::Group) return skip_group();
  if (!skip_value()) fail();
}

// The value of the tag, unless that begins or ends a group.
bool ProtobufReader::skip_value() {
  switch (wire_type(tag_)) {
    case WireType::Varint: number(); return true;
    case WireType::Fixed64: pass(8); return true;
    case WireType::Bytes: bytes(); return true;
    case WireType::Fixed32: pass(4); return true;
    default: return false;
  }
}

// Everything up to the tag that ends the group, groups inside it included.
void ProtobufReader::skip_group() {
  std::array<std::uint32_t, kMaxGroups> open;
  std::size_t depth = 0;
  open[depth++] = tag_ >> 3;
  while (depth > 0) {
    if (!next()) return fail();
    const std::uint32_t field = tag_ >> 3;
    if (wire_type(tag_) == WireType::Group) {
      if (depth == open.size()) return fail();
      open[depth++] = field;
    } else if (wire_type(tag_) == WireType::EndOfGroup) {
      if (open[--depth] != field) return fail();
    } else if (!skip_value()) {
      return fail();
    }
  }
}

}  // namespace dunlin::wire

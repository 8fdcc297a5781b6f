#pragma once

#include <cstddef>
#include <string_view>

namespace dunlin {

// Bytes of a read buffer that the receiver may change in place while it handles them; never kept after the call.
struct MutableBytes {
  char* data = nullptr;
  std::size_t size = 0;

  std::string_view view() const { return {data, size}; }
  bool empty() const { return size == 0; }
  void advance(std::size_t count) {
    data += count;
    size -= count;
  }
};

// Readable bytes behind every received payload: what SIMD parsers may read (never use) beyond its end.
inline constexpr std::size_t kPayloadPadding = 64;

}  // namespace dunlin

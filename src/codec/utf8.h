#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace dunlin {

// Checks UTF-8 (RFC 3629) that arrives in pieces cut anywhere, and fails at the first byte that cannot continue a valid text.
class Utf8Validator {
 public:
  // False once the text is invalid; the validator is then used no more.
  bool feed(std::string_view bytes);
  // True between characters: the text may end here.
  bool complete() const { return needed_ == 0; }
  void reset() { needed_ = 0; }

 private:
  std::uint8_t needed_ = 0;     // continuation bytes still to come
  std::uint8_t lowest_ = 0x80;  // range of the next one
  std::uint8_t highest_ = 0xbf;
};

}  // namespace dunlin

#include "codec/utf8.h"

#include <cstring>

namespace dunlin {
namespace {

constexpr std::uint64_t kHighBits = 0x8080808080808080ULL;

// The first byte at or after `at` that is not ASCII, or `end`.
const char* skip_ascii(const char* at, const char* end) {
  while (end - at >= 16) {
    std::uint64_t words[2];
    std::memcpy(words, at, sizeof words);
    if ((words[0] | words[1]) & kHighBits) break;
    at += 16;
  }
  while (at != end && static_cast<signed char>(*at) >= 0) ++at;
  return at;
}

}  // namespace

// The ranges of the second byte are those of RFC 3629 section 4: they exclude overlong forms, surrogates and what lies above U+10FFFF.
bool Utf8Validator::feed(std::string_view bytes) {
  const char* at = bytes.data();
  const char* const end = at + bytes.size();
  while (at != end) {
    if (needed_ == 0) {
      at = skip_ascii(at, end);
      if (at == end) return true;
      const auto lead = static_cast<std::uint8_t>(*at++);
      lowest_ = 0x80;
      highest_ = 0xbf;
      if (lead >= 0xc2 && lead <= 0xdf) {
        needed_ = 1;
      } else if ((lead & 0xf0) == 0xe0) {
        needed_ = 2;
        if (lead == 0xe0) lowest_ = 0xa0;
        if (lead == 0xed) highest_ = 0x9f;
      } else if (lead >= 0xf0 && lead <= 0xf4) {
        needed_ = 3;
        if (lead == 0xf0) lowest_ = 0x90;
        if (lead == 0xf4) highest_ = 0x8f;
      } else {
        return false;
      }
      continue;
    }
    const auto byte = static_cast<std::uint8_t>(*at++);
    if (byte < lowest_ || byte > highest_) return false;
    lowest_ = 0x80;
    highest_ = 0xbf;
    --needed_;
  }
  return true;
}

}  // namespace dunlin

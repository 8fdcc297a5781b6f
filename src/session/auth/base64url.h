#pragma once

#include <string>
#include <string_view>

namespace dunlin::auth {

// RFC 4648 section 5 without padding, as JOSE uses it. Decoding is strict: no padding, no other characters, no unused bits set, so
// every value has exactly one text. False leaves `out` in any state.
bool decode_base64url(std::string_view text, std::string& out);
std::string encode_base64url(std::string_view bytes);

}  // namespace dunlin::auth

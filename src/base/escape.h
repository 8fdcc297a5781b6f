#pragma once

#include <string>
#include <string_view>

namespace dunlin {

// Appends `value` as one log field: bare when it is plain printable ASCII without spaces, else quoted with C escapes (n, r, t, quote,
// backslash) and \xNN for every other byte outside printable ASCII that is not part of valid UTF-8, and for C1 controls. Cut at 512 bytes.
void append_log_value(std::string& out, std::string_view value);

// True if `bytes` are well-formed UTF-8 (RFC 3629: no surrogates, no overlong forms, at most U+10FFFF).
bool is_valid_utf8(std::string_view bytes);

// True for 1 to 64 bytes of valid UTF-8 without control characters: what a user, device or client message id may be.
bool is_valid_id(std::string_view bytes);

}  // namespace dunlin

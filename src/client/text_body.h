#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace dunlin::client {

// The body that our tools send for a line of text: {"text":"…"}. Bytes that are not UTF-8 become U+FFFD.
std::string text_body(std::string_view text);

// The text of such a body; nothing when it has none.
std::optional<std::string> text_of_body(std::string_view body);

// What a JSON string between its quotes stands for. Lone surrogates become U+FFFD.
std::string unescape_json(std::string_view escaped);

// Safe to write on a terminal: control characters (line breaks, escape sequences, C1) and broken UTF-8 are replaced, so that no message can
// move the cursor or forge a line.
std::string printable(std::string_view text);

}  // namespace dunlin::client

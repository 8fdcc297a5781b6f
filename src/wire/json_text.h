#pragma once

#include <cstdint>
#include <string_view>

namespace dunlin::wire {

// Where a JSON value ends, or why it is none.
struct JsonTextEnd {
  char* end = nullptr;            // behind the value; nullptr when it is not valid
  const char* problem = nullptr;  // a few words for the client
  bool too_deep = false;
};

inline constexpr std::uint32_t kMaxJsonTextDepth = 64;

// Reads one JSON value that begins at `begin` (no white space before it), to the grammar of RFC 8259: numbers of any size, strings with any
// escapes. Line breaks between tokens become spaces in place. UTF-8 is not checked here. One pass, no recursion, no allocation. max_depth:
// arrays and objects inside each other, at most kMaxJsonTextDepth.
JsonTextEnd check_json_value(char* begin, char* end, std::uint32_t max_depth);

// True if all of `text` is one JSON value with white space around it.
bool is_json_text(char* begin, char* end, std::uint32_t max_depth, JsonTextEnd& result);

// "" , application/json and anything/…+json (parameters ignored).
bool is_json_content_type(std::string_view content_type);

}  // namespace dunlin::wire

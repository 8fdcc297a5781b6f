#pragma once

#include <string>
#include <string_view>

namespace dunlin::wire {

// RFC 4648 base64 with padding: how bodies that are not JSON stand in JSON packets.
void append_base64(std::string& out, std::string_view bytes);

// Appends the decoded bytes; false (with `out` as it was) for anything but canonical, padded base64.
bool decode_base64(std::string& out, std::string_view text);

inline std::size_t base64_size(std::size_t bytes) {
  return (bytes + 2) / 3 * 4;
}

}  // namespace dunlin::wire

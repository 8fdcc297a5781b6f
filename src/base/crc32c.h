#pragma once

#include <cstdint>
#include <string_view>

namespace dunlin {

// CRC-32C (Castagnoli, RFC 3720 appendix B.4) of `bytes`; `before` continues the checksum of what came before them, so that
// crc32c(b, crc32c(a)) == crc32c(a + b). With the CPU's instruction where there is one. Any thread.
std::uint32_t crc32c(std::string_view bytes, std::uint32_t before = 0);

}  // namespace dunlin

#pragma once

#include <cstdint>

namespace dunlin::wire {

// What a decoder accepts; connect's reply tells clients the same numbers.
struct DecoderLimits {
  std::uint32_t max_body_bytes = 60 * 1024;  // leaves room for the envelope of a push within 64 KiB
  std::uint32_t max_body_depth = 64;         // nested arrays and objects of a JSON body
  std::uint32_t max_positions = 1000;        // of one ack, and of `open` in connect
  std::uint32_t max_capabilities = 64;
  std::uint32_t max_token_bytes = 16 * 1024;  // token and sync_token
  std::uint32_t max_packets = 1024;           // of one frame; the rest of the frame is refused with one too_large
};

}  // namespace dunlin::wire

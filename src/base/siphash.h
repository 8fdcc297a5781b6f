#pragma once

#include <cstdint>
#include <string_view>

namespace dunlin {

// A secret for SipHash. Whoever does not know it can neither forge a hash nor choose colliding inputs.
struct SipKey {
  std::uint64_t low = 0;
  std::uint64_t high = 0;
  bool operator==(const SipKey&) const = default;
  static SipKey random();  // from the kernel's generator
};

struct SipHash128 {
  std::uint64_t low = 0;
  std::uint64_t high = 0;
  bool operator==(const SipHash128&) const = default;
};

// SipHash-2-4 (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012), 64 and 128 bits of result.
std::uint64_t siphash64(const SipKey& key, std::string_view bytes);
SipHash128 siphash128(const SipKey& key, std::string_view bytes);

}  // namespace dunlin

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace dunlin {

// The store's life in which seqs and positions mean something: 64 random bits, renewed by `restore` and by an unclean start
// that may lack acks below `fsync`. On the wire 16 hex digits. A position of another epoch is answered `reset`.
struct Epoch {
  std::uint64_t value = 0;
  bool operator==(const Epoch&) const = default;
  std::string text() const;
  static std::optional<Epoch> parse(std::string_view text);
};

}  // namespace dunlin

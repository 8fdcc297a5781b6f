#pragma once

#include <compare>
#include <cstdint>
#include <functional>

namespace dunlin {

// Names one connection of one worker for ever: when the connection is gone, the handle finds nothing (ConnectionSet::find).
// 64 bits: worker 10, slot 24, generation 30 (from 1; 0 in all bits = no connection).
class ConnectionHandle {
 public:
  constexpr ConnectionHandle() = default;
  constexpr ConnectionHandle(std::uint16_t worker, std::uint32_t slot, std::uint32_t generation)
      : bits_(std::uint64_t{worker} << 54 | std::uint64_t{slot} << 30 | generation) {}

  constexpr std::uint16_t worker() const { return static_cast<std::uint16_t>(bits_ >> 54); }
  constexpr std::uint32_t slot() const { return static_cast<std::uint32_t>(bits_ >> 30) & 0xffffffU; }
  constexpr std::uint32_t generation() const { return static_cast<std::uint32_t>(bits_) & 0x3fffffffU; }
  constexpr explicit operator bool() const { return bits_ != 0; }
  constexpr std::uint64_t bits() const { return bits_; }
  constexpr auto operator<=>(const ConnectionHandle&) const = default;

 private:
  std::uint64_t bits_ = 0;
};

}  // namespace dunlin

template <>
struct std::hash<dunlin::ConnectionHandle> {
  std::size_t operator()(const dunlin::ConnectionHandle& handle) const noexcept { return std::hash<std::uint64_t>{}(handle.bits()); }
};

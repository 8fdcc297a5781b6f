#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace dunlin {

// How safe a stored message is when its ack leaves. Ordered: a higher value is safer.
//   Memory  in this process only; a crash loses it (needs store.unsafe-memory-acks)
//   Os      written to the kernel; kill -9 keeps it, power loss may not
//   Fsync   on durable storage (fdatasync returned)
enum class Durability : std::uint8_t { Memory = 1, Os = 2, Fsync = 3 };

constexpr std::string_view durability_name(Durability level) {
  switch (level) {
    case Durability::Memory: return "memory";
    case Durability::Os: return "os";
    case Durability::Fsync: return "fsync";
  }
  return "fsync";
}

constexpr std::optional<Durability> parse_durability(std::string_view name) {
  if (name == "memory") return Durability::Memory;
  if (name == "os") return Durability::Os;
  if (name == "fsync") return Durability::Fsync;
  return std::nullopt;
}

}  // namespace dunlin

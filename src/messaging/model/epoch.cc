#include "messaging/model/epoch.h"

#include <fmt/format.h>

#include <charconv>

namespace dunlin {

std::string Epoch::text() const {
  return fmt::format("{:016x}", value);
}

std::optional<Epoch> Epoch::parse(std::string_view text) {
  Epoch epoch;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), epoch.value, 16);
  if (text.size() != 16 || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return epoch;
}

}  // namespace dunlin

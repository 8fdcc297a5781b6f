#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace dunlin {

// A session's name: 128 random bits, never given twice. On the wire 22 characters of [A-Za-z0-9._] (base64 with its own last two
// characters, so that it holds no '-'). A client_msg_id `<session>-<n>` with n = 1, 2, 3, … from that very session is
// known to be new by one compare (see ports/timelines.h).
struct SessionKey {
  std::uint64_t high = 0;
  std::uint64_t low = 0;

  static constexpr std::size_t kTextBytes = 22;
  static SessionKey random();  // from the kernel's generator
  static std::optional<SessionKey> parse(std::string_view text);
  std::string text() const;

  bool empty() const { return high == 0 && low == 0; }
  auto operator<=>(const SessionKey&) const = default;
};

// The parts of a client_msg_id of the form `<session>-<n>` (n: decimal without leading zero, 1 to 2^63-1), or nothing.
struct NumberedMsgId {
  SessionKey session;
  std::uint64_t number;
  static std::optional<NumberedMsgId> parse(std::string_view client_msg_id);
};

}  // namespace dunlin

template <>
struct std::hash<dunlin::SessionKey> {
  std::size_t operator()(const dunlin::SessionKey& key) const noexcept { return key.low ^ (key.high * 0x9E3779B97F4A7C15ULL); }
};

#include "messaging/model/session_key.h"

#include <sys/random.h>

#include <array>
#include <charconv>

#include "base/check.h"

namespace dunlin {
namespace {

constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._";

constexpr std::array<int, 256> kValues = [] {
  std::array<int, 256> values{};
  values.fill(-1);
  for (std::size_t i = 0; i < kAlphabet.size(); ++i) values[static_cast<unsigned char>(kAlphabet[i])] = static_cast<int>(i);
  return values;
}();

// 64 bits as 11 characters, most significant first; the first character carries the top 4 bits.
void append_base64(std::string& out, std::uint64_t bits) {
  for (int shift = 60; shift >= 0; shift -= 6) out += kAlphabet[(bits >> shift) & 63];
}

std::optional<std::uint64_t> parse_base64(std::string_view text) {
  std::uint64_t bits = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const int value = kValues[static_cast<unsigned char>(text[i])];
    if (value < 0 || (i == 0 && value > 15)) return std::nullopt;
    bits = (bits << 6) | static_cast<std::uint64_t>(value);
  }
  return bits;
}

}  // namespace

SessionKey SessionKey::random() {
  SessionKey key;
  while (key.empty()) CHECK(getrandom(&key, sizeof key, 0) == sizeof key);
  return key;
}

std::optional<SessionKey> SessionKey::parse(std::string_view text) {
  if (text.size() != kTextBytes) return std::nullopt;
  const auto high = parse_base64(text.substr(0, kTextBytes / 2));
  const auto low = parse_base64(text.substr(kTextBytes / 2));
  if (!high || !low) return std::nullopt;
  return SessionKey{*high, *low};
}

std::string SessionKey::text() const {
  std::string out;
  out.reserve(kTextBytes);
  append_base64(out, high);
  append_base64(out, low);
  return out;
}

std::optional<NumberedMsgId> NumberedMsgId::parse(std::string_view id) {
  if (id.size() < SessionKey::kTextBytes + 2 || id[SessionKey::kTextBytes] != '-') return std::nullopt;
  const auto session = SessionKey::parse(id.substr(0, SessionKey::kTextBytes));
  if (!session) return std::nullopt;
  const std::string_view digits = id.substr(SessionKey::kTextBytes + 1);
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (error != std::errc() || end != digits.data() + digits.size() || digits[0] == '0') return std::nullopt;
  if (number > static_cast<std::uint64_t>(INT64_MAX)) return std::nullopt;
  return NumberedMsgId{*session, number};
}

}  // namespace dunlin

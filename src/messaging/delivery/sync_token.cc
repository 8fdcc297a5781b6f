#include "messaging/delivery/sync_token.h"

#include <algorithm>

namespace dunlin {
namespace {

constexpr char kVersion = 2;
constexpr char kVersionWithoutRun = 1;
constexpr std::size_t kOldFieldBytes = 1 + 8 + 8 + 8 + 4;
constexpr int kRunBytes = 6;
constexpr std::size_t kFieldBytes = kOldFieldBytes + kRunBytes;
constexpr std::size_t kHashBytes = 16;
static_assert((kFieldBytes + kHashBytes) % 3 == 0 && (kOldFieldBytes + kHashBytes) % 3 == 0, "no padding");
constexpr std::uint64_t kNoPosition = UINT64_MAX;
constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void append_number(std::string& out, std::uint64_t value, int bytes) {
  for (int i = bytes - 1; i >= 0; --i) out += static_cast<char>(value >> (8 * i));
}

std::uint64_t read_number(std::string_view bytes, std::size_t at, int count) {
  std::uint64_t value = 0;
  for (int i = 0; i < count; ++i) value = value << 8 | static_cast<unsigned char>(bytes[at + static_cast<std::size_t>(i)]);
  return value;
}

std::string to_text(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size() / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::uint64_t group = read_number(bytes, i, 3);
    for (int shift = 18; shift >= 0; shift -= 6) text += kAlphabet[group >> shift & 63];
  }
  return text;
}

constexpr std::size_t fields_of(char version) {
  return version == kVersion ? kFieldBytes : kOldFieldBytes;
}

constexpr std::size_t text_bytes(std::size_t fields) {
  return (fields + kHashBytes) / 3 * 4;
}

// Nothing for a version that is none, or of which the text has not the size.
std::optional<std::string> from_text(std::string_view text) {
  if (text.size() != text_bytes(kFieldBytes) && text.size() != text_bytes(kOldFieldBytes)) return std::nullopt;
  std::string bytes;
  for (std::size_t i = 0; i < text.size(); i += 4) {
    std::uint64_t group = 0;
    for (std::size_t j = 0; j < 4; ++j) {
      const std::size_t digit = kAlphabet.find(text[i + j]);
      if (digit == std::string_view::npos) return std::nullopt;
      group = group << 6 | digit;
    }
    append_number(bytes, group, 3);
  }
  const char version = bytes.front();
  if ((version != kVersion && version != kVersionWithoutRun) || text.size() != text_bytes(fields_of(version))) return std::nullopt;
  return bytes;
}

}  // namespace

SipHash128 SyncTokenMinter::seal(std::string_view fields, std::string_view user, std::string_view device) const {
  std::string sealed(fields);
  append_number(sealed, user.size(), 2);  // so that (user, device) cannot be cut elsewhere
  sealed += user;
  sealed += device;
  return siphash128(key_, sealed);
}

std::string SyncTokenMinter::mint(const SyncToken& token, std::string_view user, std::string_view device) const {
  std::string bytes(1, token.run != 0 ? kVersion : kVersionWithoutRun);
  append_number(bytes, token.epoch.value, 8);
  append_number(bytes, token.position ? token.position->value() : kNoPosition, 8);
  append_number(bytes, token.listed.value(), 8);
  append_number(bytes, static_cast<std::uint64_t>(std::max<std::int64_t>(0, to_ms(token.minted)) / 60'000), 4);
  if (token.run != 0) append_number(bytes, token.run, kRunBytes);
  const SipHash128 hash = seal(bytes, user, device);
  append_number(bytes, hash.low, 8);
  append_number(bytes, hash.high, 8);
  return to_text(bytes);
}

std::optional<SyncToken> SyncTokenMinter::parse(std::string_view text, std::string_view user, std::string_view device) const {
  const auto bytes = from_text(text);
  if (!bytes) return std::nullopt;
  const std::size_t fields = fields_of(bytes->front());
  const SipHash128 told{.low = read_number(*bytes, fields, 8), .high = read_number(*bytes, fields + 8, 8)};
  const SipHash128 hash = seal(std::string_view(*bytes).substr(0, fields), user, device);
  // Both words are always compared: how much of a guess was right must not show in the time.
  if (((told.low ^ hash.low) | (told.high ^ hash.high)) != 0) return std::nullopt;
  SyncToken token;
  token.epoch = Epoch{read_number(*bytes, 1, 8)};
  const std::uint64_t position = read_number(*bytes, 9, 8);
  if (position != kNoPosition) token.position = InboxPosition(position);
  token.listed = InboxPosition(read_number(*bytes, 17, 8));
  token.minted = from_ms(static_cast<std::int64_t>(read_number(*bytes, 25, 4)) * 60'000);
  if (bytes->front() == kVersionWithoutRun) return token;
  token.run = read_number(*bytes, kOldFieldBytes, kRunBytes);
  return token.run != 0 ? std::optional(token) : std::nullopt;
}

std::optional<Epoch> SyncTokenMinter::claimed_epoch(std::string_view text) {
  const auto bytes = from_text(text);
  if (!bytes) return std::nullopt;
  return Epoch{read_number(*bytes, 1, 8)};
}

}  // namespace dunlin

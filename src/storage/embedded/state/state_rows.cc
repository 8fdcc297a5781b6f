#include "storage/embedded/state/state_rows.h"

#include "metrics/server_metrics.h"
#include "storage/embedded/history/bytes.h"

namespace dunlin::embedded {
namespace {

constexpr std::uint32_t kTenant = 0;
constexpr std::size_t kUserAt = 6;  // behind tenant, kind and the user's size
constexpr std::uint8_t kVersion = 1;
constexpr std::uint8_t kCursorVersion = 2;  // 1: without the order
// What may stand behind a cursor in one byte: the device's platform, and whether it was forgotten. Not there when it would be 0.
constexpr std::uint8_t kForgotten = 0x80;

std::string key_of(char kind, std::string_view user) {
  std::string key;
  append_be32(key, kTenant);
  key.push_back(kind);
  key.push_back(static_cast<char>(user.size()));
  key.append(user);
  return key;
}

// What stands behind the user in a key of ours.
std::optional<std::string_view> behind_user(std::string_view key) {
  if (key.size() < kUserAt) return std::nullopt;
  const std::size_t at = kUserAt + static_cast<std::uint8_t>(key[kUserAt - 1]);
  if (at > key.size()) return std::nullopt;
  return key.substr(at);
}

}  // namespace

std::string device_prefix(std::string_view user) {
  return key_of('d', user);
}

std::string device_key(std::string_view user, std::string_view device) {
  return device_prefix(user).append(device);
}

std::optional<DeviceId> decode_device_key(std::string_view key) {
  const auto device = behind_user(key);
  return device ? std::optional(DeviceId(*device)) : std::nullopt;
}

std::string encode_cursor(const DeviceCursor& cursor, std::uint64_t order) {
  std::string value(1, static_cast<char>(kCursorVersion));
  append_be64(value, order);
  append_be64(value, cursor.epoch.value);
  append_be64(value, static_cast<std::uint64_t>(to_ms(cursor.last_seen)));
  append_varint(value, cursor.position.value());
  append_varint(value, cursor.exceptions.size());
  for (const auto& [conversation, acked] : cursor.exceptions) {
    append_sized(value, conversation.view());
    append_varint(value, acked.value());
  }
  const auto more = static_cast<std::uint8_t>(static_cast<std::uint8_t>(cursor.platform) | (cursor.forgotten ? kForgotten : 0));
  if (more != 0) value.push_back(static_cast<char>(more));
  return value;
}

std::optional<std::uint64_t> cursor_order(std::string_view value) {
  ByteReader reader(value);
  const std::uint8_t version = reader.byte();
  if (version == kVersion) return 0;
  const std::uint64_t order = reader.be64();
  return version == kCursorVersion && reader.ok() ? std::optional(order) : std::nullopt;
}

std::optional<DeviceCursor> decode_cursor(std::string_view value) {
  if (!cursor_order(value)) return std::nullopt;
  ByteReader reader(value);
  if (reader.byte() == kCursorVersion) reader.be64();
  DeviceCursor cursor;
  cursor.epoch.value = reader.be64();
  cursor.last_seen = from_ms(static_cast<std::int64_t>(reader.be64()));
  cursor.position = InboxPosition(reader.varint());
  for (std::uint64_t left = reader.varint(); left > 0 && reader.ok(); --left) {
    const std::string_view conversation = reader.sized();
    cursor.exceptions.emplace(ConversationId(conversation), MessageSeq(reader.varint()));
  }
  if (reader.ok() && !reader.rest().empty()) {
    const std::uint8_t more = reader.byte();
    const std::uint8_t platform = more & static_cast<std::uint8_t>(~kForgotten);
    if (more == 0 || platform >= metrics::kPlatformCount) return std::nullopt;
    cursor.platform = static_cast<metrics::Platform>(platform);
    cursor.forgotten = (more & kForgotten) != 0;
  }
  if (!reader.ok() || !reader.rest().empty()) return std::nullopt;
  return cursor;
}

std::string read_key(std::string_view user, std::string_view conversation) {
  return key_of('r', user).append(conversation);
}

std::string read_rows_prefix() {
  std::string key;
  append_be32(key, kTenant);
  key.push_back('r');
  return key;
}

std::optional<ConversationId> decode_read_key(std::string_view key) {
  const auto conversation = behind_user(key);
  return conversation ? std::optional(ConversationId(*conversation)) : std::nullopt;
}

std::string encode_read(const ReadRow& row) {
  std::string value(1, static_cast<char>(kVersion));
  append_varint(value, row.seq.value());
  if (row.changed_at) append_varint(value, row.changed_at->value());
  return value;
}

std::optional<ReadRow> decode_read(std::string_view value) {
  ByteReader reader(value);
  if (reader.byte() != kVersion) return std::nullopt;
  ReadRow row;
  row.seq = MessageSeq(reader.varint());
  if (!reader.rest().empty()) row.changed_at = InboxPosition(reader.varint());
  if (!reader.ok() || !reader.rest().empty()) return std::nullopt;
  return row;
}

std::string change_prefix(std::string_view user) {
  return key_of('x', user);
}

std::string change_key(std::string_view user, InboxPosition at, std::string_view conversation) {
  std::string key = change_prefix(user);
  append_be64(key, at.value());
  key.append(conversation);
  return key;
}

std::optional<ReadChange> decode_change_key(std::string_view key) {
  const auto rest = behind_user(key);
  if (!rest || rest->size() < 8) return std::nullopt;
  return ReadChange{ConversationId(rest->substr(8)), InboxPosition(get_be64(rest->data()))};
}

std::string mark_key() {
  std::string key;
  append_be32(key, kTenant);
  key.push_back('m');
  return key;
}

std::string encode_mark(const CursorMark& mark) {
  std::string value(1, static_cast<char>(kVersion));
  append_be64(value, mark.epoch.value);
  append_varint(value, mark.highest.value());
  return value;
}

std::optional<CursorMark> decode_mark(std::string_view value) {
  ByteReader reader(value);
  if (reader.byte() != kVersion) return std::nullopt;
  CursorMark mark;
  mark.epoch.value = reader.be64();
  mark.highest = InboxPosition(reader.varint());
  if (!reader.ok() || !reader.rest().empty()) return std::nullopt;
  return mark;
}

std::string recall_prefix() {
  std::string key;
  append_be32(key, kTenant);
  key.push_back('e');
  return key;
}

std::string recall_key(std::uint64_t conversation_number, MessageSeq seq) {
  std::string key = recall_prefix();
  append_be64(key, conversation_number);
  append_be64(key, seq.value());
  return key;
}

std::string encode_recall(const RecallRow& row) {
  std::string value(1, static_cast<char>(kVersion));
  append_varint(value, row.position.value());
  append_varint(value, row.time_ms);
  return value;
}

std::optional<RecallRow> decode_recall(std::string_view key, std::string_view value) {
  const std::string prefix = recall_prefix();
  if (!key.starts_with(prefix) || key.size() != prefix.size() + 16) return std::nullopt;
  ByteReader reader(value);
  if (reader.byte() != kVersion) return std::nullopt;
  RecallRow row;
  row.conversation_number = get_be64(key.data() + prefix.size());
  row.seq = MessageSeq(get_be64(key.data() + prefix.size() + 8));
  row.position = LogPosition(reader.varint());
  row.time_ms = reader.varint();
  if (!reader.ok() || !reader.rest().empty()) return std::nullopt;
  return row;
}

}  // namespace dunlin::embedded

#include "storage/embedded/history/rows.h"

#include "base/crc32c.h"
#include "storage/embedded/history/bytes.h"

namespace dunlin::embedded {
namespace {

constexpr std::uint8_t kVersion = 1;
constexpr std::uint8_t kLostVersion = 2;
constexpr std::uint8_t kRecalledVersion = 3;
constexpr std::size_t kChecksumBytes = 4;

// Ends `value` with the checksum over `key` and what `value` holds so far.
void seal(std::string_view key, std::string& value) {
  append_be32(value, crc32c(value, crc32c(key)));
}

// The checked contents behind the version byte, or nothing.
std::optional<std::string_view> unseal(std::string_view key, std::string_view value, std::uint8_t version = kVersion) {
  if (value.size() < 1 + kChecksumBytes) return std::nullopt;
  const std::string_view covered = value.substr(0, value.size() - kChecksumBytes);
  if (crc32c(covered, crc32c(key)) != get_be32(value.data() + covered.size())) return std::nullopt;
  if (static_cast<std::uint8_t>(covered[0]) != version) return std::nullopt;
  return covered.substr(1);
}

std::string begin_value() {
  return std::string(1, static_cast<char>(kVersion));
}

std::string tenant_key(std::string_view rest) {
  std::string key;
  key.reserve(kTenantBytes + rest.size());
  append_be32(key, kTenant);
  key.append(rest);
  return key;
}

}  // namespace

TimelineKey::TimelineKey(std::uint64_t number, MessageSeq seq) {
  put_be32(bytes, kTenant);
  put_be64(bytes + kTenantBytes, number);
  put_be64(bytes + kTimelinePrefixBytes, seq.value());
}

std::optional<TimelinePlace> decode_timeline_key(std::string_view key) {
  if (key.size() != kTimelineKeyBytes || get_be32(key.data()) != kTenant) return std::nullopt;
  return TimelinePlace{get_be64(key.data() + kTenantBytes), MessageSeq(get_be64(key.data() + kTimelinePrefixBytes))};
}

void encode_record(std::string_view key, const Message& message, std::string& out) {
  const MessagePlace& place = message.place();
  out.clear();
  out.push_back(static_cast<char>(message.is_recalled() ? kRecalledVersion : kVersion));
  append_varint(out, place.position.value());
  append_varint(out, place.position.value() - place.previous.value());
  append_varint(out, place.time_ms);
  append_varint(out, place.first_user_count);
  append_sized(out, message.conversation());
  append_sized(out, message.sender());
  append_sized(out, message.client_msg_id());
  if (!message.is_recalled()) {
    append_sized(out, message.content_type());
    out.append(message.body());
  }
  seal(key, out);
}

MessagePtr decode_record(std::string_view key, std::string_view value) {
  const auto place_of_key = decode_timeline_key(key);
  const bool recalled = is_recalled_value(value);
  const auto contents = unseal(key, value, recalled ? kRecalledVersion : kVersion);
  if (!place_of_key || !contents) return {};
  ByteReader reader(*contents);
  MessagePlace place;
  place.seq = place_of_key->seq;
  place.conversation_number = place_of_key->number;
  place.position = LogPosition(reader.varint());
  place.previous = LogPosition(place.position.value() - reader.varint());
  place.time_ms = reader.varint();
  place.first_user_count = reader.varint();
  MessageDraft draft;
  draft.conversation = reader.sized();
  draft.sender = reader.sized();
  draft.client_msg_id = reader.sized();
  if (!recalled) draft.content_type = reader.sized();
  draft.body = reader.rest();
  if (!reader.ok() || (recalled && !draft.body.empty()) || draft.conversation.size() > UINT16_MAX ||
      draft.content_type.size() > UINT16_MAX || draft.sender.size() > UINT8_MAX || draft.client_msg_id.size() > UINT8_MAX ||
      draft.body.size() > UINT32_MAX) {
    return {};
  }
  MessagePtr message = Message::create(draft);
  message->set_place(place);
  return recalled ? Message::recalled(*message) : message;
}

bool is_recalled_value(std::string_view value) {
  return !value.empty() && static_cast<std::uint8_t>(value[0]) == kRecalledVersion;
}

void encode_lost(std::string_view key, LogPosition position, std::string& out) {
  out.assign(1, static_cast<char>(kLostVersion));
  append_varint(out, position.value());
  append_varint(out, position.value());  // back to 0: the place of the record before it is unknown
  seal(key, out);
}

bool is_lost_record(std::string_view key, std::string_view value) {
  return unseal(key, value, kLostVersion).has_value();
}

std::optional<RecordPositions> peek_record(std::string_view value) {
  ByteReader reader(value);
  const std::uint8_t version = reader.byte();
  if (version != kVersion && version != kLostVersion && version != kRecalledVersion) return std::nullopt;
  const std::uint64_t position = reader.varint();
  const std::uint64_t back = reader.varint();
  if (!reader.ok() || back > position) return std::nullopt;
  return RecordPositions{LogPosition(position), LogPosition(position - back)};
}

void encode_dedup_key(const DedupKey& key, char* out) {
  put_be32(out, kTenant);
  put_be64(out + kTenantBytes, key.high);
  put_be64(out + kTenantBytes + 8, key.low);
}

void encode_dedup_value(const DedupEntry& entry, char* out) {
  put_be64(out, entry.body_digest);
  put_be64(out + 8, entry.seq.value());
  put_be64(out + 16, entry.time_ms);
}

std::optional<DedupEntry> decode_dedup(const DedupKey& key, std::string_view value) {
  if (value.size() != kDedupValueBytes) return std::nullopt;
  return DedupEntry{key, get_be64(value.data()), MessageSeq(get_be64(value.data() + 8)), get_be64(value.data() + 16)};
}

void heads_key(std::string_view conversation, std::string& out) {
  out.clear();
  append_be32(out, kTenant);
  out.append(conversation);
}

std::string heads_key(std::string_view conversation) {
  std::string key;
  heads_key(conversation, key);
  return key;
}

void encode_head(std::string_view key, const ConversationHead& head, std::string& out) {
  out.assign(1, static_cast<char>(kVersion));
  append_varint(out, head.number);
  append_varint(out, head.last_seq.value());
  append_varint(out, head.last_position.value());
  append_varint(out, head.first_user_count);
  seal(key, out);
}

std::optional<ConversationHead> decode_head(std::string_view key, std::string_view value) {
  const auto contents = unseal(key, value);
  if (!contents) return std::nullopt;
  ByteReader reader(*contents);
  ConversationHead head;
  head.number = reader.varint();
  head.last_seq = MessageSeq(reader.varint());
  head.last_position = LogPosition(reader.varint());
  head.first_user_count = reader.varint();
  return reader.ok() ? std::optional(head) : std::nullopt;
}

std::string user_prefix(std::string_view user) {
  std::string key;
  append_be32(key, kTenant);
  key.push_back(static_cast<char>(user.size()));
  key.append(user);
  return key;
}

std::size_t user_prefix_bytes(std::string_view key) {
  if (key.size() <= kTenantBytes) return 0;
  const std::size_t bytes = kTenantBytes + 1 + static_cast<std::uint8_t>(key[kTenantBytes]);
  return bytes <= key.size() ? bytes : 0;
}

void activity_key(std::string_view user, LogPosition position, std::string& out) {
  out.clear();
  append_be32(out, kTenant);
  out.push_back(static_cast<char>(user.size()));
  out.append(user);
  append_be64(out, position.value());
}

std::string activity_key(std::string_view user, LogPosition position) {
  std::string key;
  activity_key(user, position, key);
  return key;
}

void append_activity(std::string& row, LogPosition row_position, std::string_view conversation, const ActivityEntry& entry) {
  if (row.empty()) row.push_back(static_cast<char>(kVersion));
  append_varint(row, row_position.value() - entry.last_position.value());
  append_varint(row, entry.last_position.value() - entry.first_position.value());
  append_varint(row, entry.first_seq.value());
  append_varint(row, entry.last_seq.value() - entry.first_seq.value());
  append_sized(row, conversation);
}

std::optional<LogPosition> activity_row_position(std::string_view key) {
  const std::size_t prefix = user_prefix_bytes(key);
  if (prefix == 0 || key.size() != prefix + 8) return std::nullopt;
  return LogPosition(get_be64(key.data() + prefix));
}

bool decode_activity(std::string_view key, std::string_view value, std::vector<ActivityEntry>& out) {
  const auto newest = activity_row_position(key);
  if (!newest) return false;
  const std::uint64_t row_position = newest->value();
  ByteReader reader(value);
  if (reader.byte() != kVersion) return false;
  while (reader.ok() && !reader.rest().empty()) {
    ActivityEntry entry;
    entry.last_position = LogPosition(row_position - reader.varint());
    entry.first_position = LogPosition(entry.last_position.value() - reader.varint());
    entry.first_seq = MessageSeq(reader.varint());
    entry.last_seq = MessageSeq(entry.first_seq.value() + reader.varint());
    entry.conversation = ConversationId(reader.sized());
    if (reader.ok()) out.push_back(std::move(entry));
  }
  return reader.ok();
}

void append_order(std::string& row, std::uint64_t number, MessageSeq seq) {
  if (row.empty()) row.push_back(static_cast<char>(kVersion));
  append_varint(row, number);
  append_varint(row, seq.value());
}

bool decode_order(std::string_view key, std::string_view value, std::vector<OrderEntry>& out) {
  const auto newest = activity_row_position(key);
  ByteReader reader(value);
  if (!newest || reader.byte() != kVersion) return false;
  const std::size_t begin = out.size();
  while (reader.ok() && !reader.rest().empty()) {
    OrderEntry entry;
    entry.number = reader.varint();
    entry.seq = MessageSeq(reader.varint());
    if (reader.ok()) out.push_back(entry);
  }
  const std::size_t count = out.size() - begin;
  if (!reader.ok() || count > newest->value()) return false;
  for (std::size_t i = 0; i < count; ++i) out[begin + i].position = LogPosition(newest->value() - count + 1 + i);
  return true;
}

std::string list_key(std::string_view user, std::string_view conversation) {
  std::string key = user_prefix(user);
  key.append(conversation);
  return key;
}

std::string position_key() {
  return tenant_key("position");
}
std::string watermark_key() {
  return tenant_key("watermark");
}
std::string volume_key(std::uint32_t number) {
  std::string key = tenant_key("volume");
  append_be32(key, number);
  return key;
}
std::string generation_key(std::uint32_t number) {
  std::string key = tenant_key("dedup");
  append_be32(key, number);
  return key;
}

std::string encode_position(const PositionRow& row) {
  std::string value = begin_value();
  append_varint(value, row.position.value());
  append_varint(value, row.segment);
  append_varint(value, row.last_number);
  append_varint(value, row.newest_time_ms);
  seal(position_key(), value);
  return value;
}

std::optional<PositionRow> decode_position(std::string_view value) {
  const auto contents = unseal(position_key(), value);
  if (!contents) return std::nullopt;
  ByteReader reader(*contents);
  PositionRow row;
  row.position = LogPosition(reader.varint());
  row.segment = reader.varint();
  row.last_number = reader.varint();
  row.newest_time_ms = reader.varint();
  return reader.ok() ? std::optional(row) : std::nullopt;
}

std::string encode_watermark(LogPosition position) {
  std::string value = begin_value();
  append_varint(value, position.value());
  seal(watermark_key(), value);
  return value;
}

std::optional<LogPosition> decode_watermark(std::string_view value) {
  const auto contents = unseal(watermark_key(), value);
  if (!contents) return std::nullopt;
  ByteReader reader(*contents);
  const LogPosition position(reader.varint());
  return reader.ok() ? std::optional(position) : std::nullopt;
}

std::string encode_span(std::string_view key, const SpanRow& row) {
  std::string value = begin_value();
  append_varint(value, row.first.value());
  append_varint(value, row.last.value());
  append_varint(value, row.first_time_ms);
  append_varint(value, row.last_time_ms);
  seal(key, value);
  return value;
}

std::optional<SpanRow> decode_span(std::string_view key, std::string_view value) {
  const auto contents = unseal(key, value);
  if (!contents) return std::nullopt;
  ByteReader reader(*contents);
  SpanRow row;
  row.first = LogPosition(reader.varint());
  row.last = LogPosition(reader.varint());
  row.first_time_ms = reader.varint();
  row.last_time_ms = reader.varint();
  return reader.ok() ? std::optional(row) : std::nullopt;
}

}  // namespace dunlin::embedded

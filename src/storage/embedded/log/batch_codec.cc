#include "storage/embedded/log/batch_codec.h"

#include <algorithm>
#include <bit>

#include "base/check.h"
#include "base/crc32c.h"

namespace dunlin::embedded {
namespace {

static_assert(std::endian::native == std::endian::little, "the codec copies numbers as they are");

constexpr std::uint32_t kMagic = 0x424E4C44;  // "DLNB"

template <class T>
void put(char* out, std::size_t at, T value) {
  std::memcpy(out + at, &value, sizeof value);
}
template <class T>
T get(std::string_view in, std::size_t at) {
  T value;
  std::memcpy(&value, in.data() + at, sizeof value);
  return value;
}

std::uint32_t seed(std::uint32_t secret, LogPlace place) {
  char bytes[12];
  put(bytes, 0, place.generation);
  put(bytes, 8, place.offset);
  return crc32c({bytes, sizeof bytes}, secret);
}

void encode_record(const Message& m, LogPlace place, std::uint32_t bytes, std::uint32_t secret, char* out) {
  const auto conversation = m.conversation();
  const auto sender = m.sender();
  const auto id = m.client_msg_id();
  const auto type = m.content_type();
  const auto body = m.body();
  const MessagePlace& at = m.place();
  put(out, 8, kMessageRecord);
  put(out, 9, kFormatVersion);
  put(out, 10, static_cast<std::uint16_t>(conversation.size()));
  put(out, 12, static_cast<std::uint8_t>(sender.size()));
  put(out, 13, static_cast<std::uint8_t>(id.size()));
  put(out, 14, static_cast<std::uint16_t>(type.size()));
  put(out, 16, static_cast<std::uint32_t>(body.size()));
  put(out, 20, bytes);
  put(out, 24, at.position.value());
  put(out, 32, at.previous.value());
  put(out, 40, at.seq.value());
  put(out, 48, at.conversation_number);
  put(out, 56, at.first_user_count);
  put(out, 64, at.time_ms);
  // The message's strings lie one behind the other in the same order.
  const std::size_t names = conversation.size() + sender.size() + id.size();
  const std::size_t content = type.size() + body.size();
  std::memcpy(out + kRecordHeadBytes, conversation.data(), names + content);
  const std::size_t end = kRecordHeadBytes + names + content;
  std::memset(out + end, 0, bytes - end);
  const std::uint32_t start = seed(secret, place);
  put(out, 4, crc32c({out + kRecordHeadBytes + names, content}, ~start));
  put(out, 0, crc32c({out + 4, kRecordHeadBytes - 4 + names}, start));
}

// Writes the head, whose checksum goes over the first `covered` bytes of the batch, which stand already but for it.
void put_head(const BatchHead& head, std::uint32_t covered, std::uint32_t secret, char* out) {
  put(out, 0, kMagic);
  put(out, 8, head.place.generation);
  put(out, 16, head.place.offset);
  put(out, 20, head.bytes);
  put(out, 24, head.first.value());
  put(out, 32, head.synced.generation);
  put(out, 40, head.synced.offset);
  put(out, 44, head.count);
  put(out, 48, head.previous.generation);
  put(out, 56, head.previous.offset);
  put(out, 60, head.partition);
  put(out, 62, static_cast<std::uint8_t>(head.kind));
  put(out, 63, kFormatVersion);
  put(out, 4, crc32c({out + 8, covered - 8}, seed(secret, head.place)));
}

bool is_kind(std::uint8_t kind) {
  return kind >= 1 && kind <= 3;
}

}  // namespace

std::uint32_t record_bytes(const Message& m) {
  return padded8(static_cast<std::uint32_t>(kRecordHeadBytes + m.footprint() - sizeof(Message)));
}

std::uint32_t encoded_bytes(std::span<const MessagePtr> messages) {
  std::uint32_t bytes = batch_records_offset(static_cast<std::uint32_t>(messages.size()));
  for (const auto& message : messages) bytes += record_bytes(*message);
  return bytes;
}

void encode_batch(const BatchHead& head, std::span<const MessagePtr> messages, std::uint32_t secret, char* out) {
  CHECK(head.count == messages.size());
  const std::uint32_t records = batch_records_offset(head.count);
  std::uint32_t at = records;
  std::uint32_t row = kBatchHeadBytes;
  for (const auto& message : messages) {
    const std::uint32_t bytes = record_bytes(*message);
    encode_record(*message, {head.place.generation, head.place.offset + at}, bytes, secret, out + at);
    put(out, row, message->place().conversation_number);
    put(out, row + 8, message->seq().value());
    put(out, row + 16, bytes);
    at += bytes;
    row += kTableRowBytes;
  }
  CHECK(at == head.bytes);
  std::memset(out + row, 0, records - row);
  put_head(head, records, secret, out);
}

void encode_cursors(const BatchHead& head, std::string_view cursors, std::uint32_t secret, char* out) {
  CHECK(head.count == 0 && head.bytes == cursors_bytes(cursors.size()));
  std::memcpy(out + kBatchHeadBytes, cursors.data(), cursors.size());
  std::memset(out + kBatchHeadBytes + cursors.size(), 0, head.bytes - kBatchHeadBytes - cursors.size());
  put_head(head, head.bytes, secret, out);
}

std::string_view decode_cursors(std::string_view file, const BatchHead& batch) {
  return file.substr(batch.place.offset + kBatchHeadBytes, batch.bytes - kBatchHeadBytes);
}

std::optional<BatchHead> decode_batch_head(std::string_view file, std::uint32_t offset, std::uint32_t secret) {
  if (offset % 8 != 0 || file.size() < kBatchHeadBytes || offset > file.size() - kBatchHeadBytes) return std::nullopt;
  const std::string_view in = file.substr(offset);
  if (get<std::uint32_t>(in, 0) != kMagic || get<std::uint32_t>(in, 16) != offset) return std::nullopt;
  BatchHead head;
  head.place = {get<std::uint64_t>(in, 8), offset};
  head.bytes = get<std::uint32_t>(in, 20);
  head.first = LogPosition(get<std::uint64_t>(in, 24));
  head.synced = {get<std::uint64_t>(in, 32), get<std::uint32_t>(in, 40)};
  head.count = get<std::uint32_t>(in, 44);
  head.previous = {get<std::uint64_t>(in, 48), get<std::uint32_t>(in, 56)};
  head.partition = get<std::uint16_t>(in, 60);
  const auto kind = get<std::uint8_t>(in, 62);
  if (head.bytes > in.size() || head.bytes % 8 != 0 || head.count > head.bytes / kTableRowBytes) return std::nullopt;
  const std::uint32_t records = batch_records_offset(head.count);
  if (records > head.bytes || get<std::uint8_t>(in, 63) != kFormatVersion || !is_kind(kind)) return std::nullopt;
  head.kind = static_cast<BatchHead::Kind>(kind);
  const bool cursors = head.kind == BatchHead::Kind::Cursors;
  const std::uint32_t covered = cursors ? head.bytes : records;
  if (get<std::uint32_t>(in, 4) != crc32c(in.substr(8, covered - 8), seed(secret, head.place))) return std::nullopt;
  if (cursors) return head.count == 0 ? std::optional(head) : std::nullopt;
  std::uint64_t sum = records;
  for (std::uint32_t i = 0; i < head.count; ++i) {
    const auto bytes = get<std::uint32_t>(in, kBatchHeadBytes + i * kTableRowBytes + 16);
    if (bytes < kRecordHeadBytes || bytes % 8 != 0) return std::nullopt;
    sum += bytes;
  }
  if (sum != head.bytes) return std::nullopt;
  return head;
}

TableRow decode_table_row(std::string_view file, const BatchHead& batch, std::uint32_t index) {
  const std::size_t at = batch.place.offset + kBatchHeadBytes + std::size_t{index} * kTableRowBytes;
  return {get<std::uint64_t>(file, at), MessageSeq(get<std::uint64_t>(file, at + 8)), get<std::uint32_t>(file, at + 16)};
}

DecodedRecord decode_record(std::string_view file, LogPlace place, std::uint32_t limit, std::uint32_t secret) {
  DecodedRecord record;
  if (limit > file.size() || place.offset > limit || limit - place.offset < kRecordHeadBytes) return record;
  const std::string_view in = file.substr(place.offset, limit - place.offset);
  const std::size_t conversation = get<std::uint16_t>(in, 10);
  const std::size_t sender = get<std::uint8_t>(in, 12);
  const std::size_t id = get<std::uint8_t>(in, 13);
  const std::size_t type = get<std::uint16_t>(in, 14);
  const std::size_t body = get<std::uint32_t>(in, 16);
  const std::size_t names = conversation + sender + id;
  record.bytes = get<std::uint32_t>(in, 20);
  if (kRecordHeadBytes + names > in.size()) return record;
  const std::uint32_t start = seed(secret, place);
  if (get<std::uint32_t>(in, 0) != crc32c(in.substr(4, kRecordHeadBytes - 4 + names), start)) return record;
  record.head_ok = true;
  record.known = get<std::uint8_t>(in, 8) == kMessageRecord && get<std::uint8_t>(in, 9) == kFormatVersion;
  record.position = LogPosition(get<std::uint64_t>(in, 24));
  record.seq = MessageSeq(get<std::uint64_t>(in, 40));
  record.conversation_number = get<std::uint64_t>(in, 48);
  record.conversation = in.substr(kRecordHeadBytes, conversation);
  if (kRecordHeadBytes + names + type + body > in.size()) return record;
  record.body_ok = get<std::uint32_t>(in, 4) == crc32c(in.substr(kRecordHeadBytes + names, type + body), ~start);
  if (!record.body_ok || !record.known) return record;
  std::string_view text = in.substr(kRecordHeadBytes);
  const auto next = [&text](std::size_t bytes) {
    const auto part = text.substr(0, bytes);
    text.remove_prefix(bytes);
    return part;
  };
  MessageDraft draft;
  draft.conversation = next(conversation);
  draft.sender = next(sender);
  draft.client_msg_id = next(id);
  draft.content_type = next(type);
  draft.body = next(body);
  record.message = Message::create(draft);
  record.message->set_place({record.seq, record.position, LogPosition(get<std::uint64_t>(in, 32)), get<std::uint64_t>(in, 64),
                             record.conversation_number, get<std::uint64_t>(in, 56)});
  return record;
}

void erase_record(std::string& bytes, LogPlace place, std::uint32_t secret) {
  const std::uint32_t start = seed(secret, place);
  std::size_t names = bytes.size();
  if (bytes.size() >= kRecordHeadBytes) {
    names = get<std::uint16_t>(bytes, 10) + std::size_t{get<std::uint8_t>(bytes, 12)} + get<std::uint8_t>(bytes, 13);
  }
  const std::size_t content = kRecordHeadBytes + names;
  if (content > bytes.size() || get<std::uint32_t>(bytes, 0) != crc32c({bytes.data() + 4, content - 4}, start)) {
    std::fill(bytes.begin(), bytes.end(), '\0');
    return;
  }
  std::fill(bytes.begin() + static_cast<std::ptrdiff_t>(content), bytes.end(), '\0');
  const std::size_t size = std::min(std::size_t{get<std::uint16_t>(bytes, 14)} + get<std::uint32_t>(bytes, 16), bytes.size() - content);
  bytes[8] = static_cast<char>(kErasedRecord);
  put(bytes.data(), 4, crc32c({bytes.data() + content, size}, ~start));
  put(bytes.data(), 0, crc32c({bytes.data() + 4, content - 4}, start));
}

std::optional<std::uint32_t> find_record(std::string_view file, LogPlace from, std::uint32_t limit, std::uint32_t secret) {
  limit = static_cast<std::uint32_t>(std::min<std::size_t>(limit, file.size()));
  for (std::uint32_t at = padded8(from.offset); at < limit && limit - at >= kRecordHeadBytes; at += 8) {
    // Its length first, which is cheap to judge and nearly never right by chance.
    const auto bytes = get<std::uint32_t>(file, at + 20);
    if (bytes < kRecordHeadBytes || bytes % 8 != 0 || bytes > limit - at) continue;
    if (decode_record(file, {from.generation, at}, at + bytes, secret).head_ok) return at;
  }
  return std::nullopt;
}

UnprovenHead unproven_batch_head(std::string_view file, std::uint32_t offset) {
  UnprovenHead head;
  if (file.size() < kBatchHeadBytes || offset > file.size() - kBatchHeadBytes) return head;
  const std::string_view in = file.substr(offset);
  const auto kind = get<std::uint8_t>(in, 62);
  const bool shape = get<std::uint8_t>(in, 63) == kFormatVersion && is_kind(kind);
  head.begun = get<std::uint32_t>(in, 16) == offset && (get<std::uint32_t>(in, 0) == kMagic || shape);
  head.generation = get<std::uint64_t>(in, 8);
  return head;
}

}  // namespace dunlin::embedded

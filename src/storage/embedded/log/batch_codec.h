#pragma once

#include <compare>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "messaging/model/message.h"

namespace dunlin::embedded {

// The bytes of the message log; docs/storage.md has the grammar and a worked example. All numbers are little-endian.
//
//   segment := batch* rest          rest: zeros, or what an earlier life of the file left
//   batch   := head(64) table(20 * count) pad8 record*        of kinds records and end
//            | head(64) cursor* pad8                           of kind cursors; state/cursor_riders.h knows what they are
//   record  := head(72) conversation sender client_msg_id content_type body pad8
//
// Every checksum is a CRC-32C that begins with the store's log secret, the generation of the segment and the place in the file: bytes of
// an earlier life of a recycled file, of another file, or of a message body that imitates a batch never pass.

// A place in the log's files: everything before it, in order of generation, then of offset.
struct LogPlace {
  std::uint64_t generation = 0;
  std::uint32_t offset = 0;
  auto operator<=>(const LogPlace&) const = default;
};

struct BatchHead {
  // End: clean stop. Cursors: where devices are. Both without records.
  enum class Kind : std::uint8_t { Records = 1, End = 2, Cursors = 3 };

  LogPlace place;  // where it stands itself
  std::uint32_t bytes = 0;
  LogPosition first;  // of its first record; of the next record to come when it has none
  LogPlace synced;    // everything before was durable when this batch was written
  LogPlace previous;  // the segment before this one, and where its valid part ends: segments between are void
  std::uint16_t partition = 0;
  std::uint32_t count = 0;
  Kind kind = Kind::Records;

  LogPosition last() const { return LogPosition(first.value() + count - 1); }
  std::uint32_t end() const { return place.offset + bytes; }
};

// One row of a batch's table: which records it holds, should their own bytes be lost.
struct TableRow {
  std::uint64_t conversation_number = 0;
  MessageSeq seq;
  std::uint32_t bytes = 0;
};

inline constexpr std::uint32_t kBatchHeadBytes = 64;
inline constexpr std::uint32_t kTableRowBytes = 20;
inline constexpr std::uint32_t kRecordHeadBytes = 72;
inline constexpr std::uint8_t kFormatVersion = 1;
inline constexpr std::uint8_t kMessageRecord = 1;
inline constexpr std::uint8_t kErasedRecord = 2;  // was a message; its content is zeros

constexpr std::uint32_t padded8(std::uint32_t bytes) {
  return (bytes + 7) & ~7U;
}
constexpr std::uint32_t batch_records_offset(std::uint32_t count) {
  return padded8(kBatchHeadBytes + kTableRowBytes * count);
}

// Bytes of the message's record.
std::uint32_t record_bytes(const Message& message);

// Encodes into `out` (exactly head.bytes, which encoded_bytes() gave). `head.count` = messages.size().
std::uint32_t encoded_bytes(std::span<const MessagePtr> messages);
void encode_batch(const BatchHead& head, std::span<const MessagePtr> messages, std::uint32_t secret, char* out);

// A batch of kind Cursors: `head.bytes` = cursors_bytes(cursors.size()), and count 0. Its one checksum covers all of it.
constexpr std::uint32_t cursors_bytes(std::size_t size) {
  return padded8(kBatchHeadBytes + static_cast<std::uint32_t>(size));
}
void encode_cursors(const BatchHead& head, std::string_view cursors, std::uint32_t secret, char* out);
// What such a batch holds, padding included. A view into `file`.
std::string_view decode_cursors(std::string_view file, const BatchHead& batch);

// The batch that begins at `offset` of a segment file's bytes, if its head and table are whole and all of it lies inside.
std::optional<BatchHead> decode_batch_head(std::string_view file, std::uint32_t offset, std::uint32_t secret);
TableRow decode_table_row(std::string_view file, const BatchHead& batch, std::uint32_t index);

// One record as read: what of it can be believed.
struct DecodedRecord {
  bool head_ok = false;  // type to client_msg_id
  bool body_ok = false;  // content type and body
  bool known = false;    // a type and version that this program reads
  std::uint32_t bytes = 0;
  std::uint64_t conversation_number = 0;
  MessageSeq seq;
  LogPosition position;
  std::string_view conversation;
  MessagePtr message;  // when all three hold
};
// `place` is where the record begins; `limit` is where its bytes end at the latest.
DecodedRecord decode_record(std::string_view file, LogPlace place, std::uint32_t limit, std::uint32_t secret);

// Makes a record one whose content is gone: of a type that is skipped, zeros where content type and body stood, and checksums that fit. One
// whose head cannot be believed becomes zeros altogether. `bytes` are the record's, which stands at `place`.
void erase_record(std::string& bytes, LogPlace place, std::uint32_t secret);

// The first offset at or behind `from` where a record of that generation stands whose head is whole. For places that no batch describes.
std::optional<std::uint32_t> find_record(std::string_view file, LogPlace from, std::uint32_t limit, std::uint32_t secret);

// What the bytes at `offset` say of themselves, though no checksum proves it.
struct UnprovenHead {
  bool begun = false;  // they look like the head of a batch that was written to this very place
  std::uint64_t generation = 0;
};
UnprovenHead unproven_batch_head(std::string_view file, std::uint32_t offset);

}  // namespace dunlin::embedded

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "storage/embedded/activity.h"
#include "storage/embedded/history/history.h"

namespace dunlin::embedded {

// Keys and values of history's column families; docs/storage-history.md gives each with worked bytes. Pure functions, no RocksDB.
// Every key begins with a tenant number (0 until tenants exist). A decoder takes any bytes and gives nothing for what it does not know.

inline constexpr std::uint32_t kTenant = 0;
inline constexpr std::size_t kTenantBytes = 4;

// timeline: tenant, conversation number, seq -> record
inline constexpr std::size_t kTimelinePrefixBytes = kTenantBytes + 8;
inline constexpr std::size_t kTimelineKeyBytes = kTimelinePrefixBytes + 8;

struct TimelineKey {
  char bytes[kTimelineKeyBytes];
  TimelineKey(std::uint64_t number, MessageSeq seq);
  std::string_view view() const { return {bytes, sizeof bytes}; }
};
struct TimelinePlace {
  std::uint64_t number = 0;
  MessageSeq seq;
};
std::optional<TimelinePlace> decode_timeline_key(std::string_view key);

// Clears `out`. A recalled message gets a row without content. The record's checksum covers key and value, so that a row under another key
// is damage too.
void encode_record(std::string_view key, const Message& message, std::string& out);
MessagePtr decode_record(std::string_view key, std::string_view value);  // null when damaged
// A record that the log could not give back: its place without content.
void encode_lost(std::string_view key, LogPosition position, std::string& out);
bool is_lost_record(std::string_view key, std::string_view value);
// Whether a timeline's value is that of a recalled message, by its version alone.
bool is_recalled_value(std::string_view value);
// The positions alone, without the checksum: for searches that decode the row they end at.
struct RecordPositions {
  LogPosition position;
  LogPosition previous;  // 0 when lost
};
std::optional<RecordPositions> peek_record(std::string_view value);

// dedup: tenant, 128-bit hash -> digest, seq, time
inline constexpr std::size_t kDedupKeyBytes = kTenantBytes + 16;
inline constexpr std::size_t kDedupValueBytes = 24;
void encode_dedup_key(const DedupKey& key, char* out);
void encode_dedup_value(const DedupEntry& entry, char* out);
std::optional<DedupEntry> decode_dedup(const DedupKey& key, std::string_view value);

// heads: tenant, conversation id -> number, last seq, last position, first user's count, checksum
std::string heads_key(std::string_view conversation);
void heads_key(std::string_view conversation, std::string& out);  // into `out`, whose room is used again
void encode_head(std::string_view key, const ConversationHead& head, std::string& out);
std::optional<ConversationHead> decode_head(std::string_view key, std::string_view value);

// activity: tenant, user, position of the newest entry -> up to kActivityRowEntries entries of one segment, ascending by last position
inline constexpr std::size_t kActivityRowEntries = 64;
// A group is what stands for one stretch of positions, of which all other rows of the user are clear: the rows of one segment, or, for a
// user of many conversations, of a part of it in which so many had something. It ends with a row of less than kActivityRowEntries entries.
inline constexpr std::size_t kActivityGroupEntries = 63;
std::string user_prefix(std::string_view user);       // of activity and list keys: tenant, size, user
std::size_t user_prefix_bytes(std::string_view key);  // 0 when `key` is no such key
std::string activity_key(std::string_view user, LogPosition position);
void activity_key(std::string_view user, LogPosition position, std::string& out);
std::optional<LogPosition> activity_row_position(std::string_view key);  // of its newest entry
void append_activity(std::string& row, LogPosition row_position, std::string_view conversation, const ActivityEntry& entry);
bool decode_activity(std::string_view key, std::string_view value, std::vector<ActivityEntry>& out);

// order, among the activity rows as those of the empty user: tenant, position of the newest -> the records at the positions up to there,
// which follow one another without a hole
inline constexpr std::size_t kOrderRowRecords = 64;
struct OrderEntry {
  LogPosition position;
  std::uint64_t number = 0;
  MessageSeq seq;
};
void append_order(std::string& row, std::uint64_t number, MessageSeq seq);
bool decode_order(std::string_view key, std::string_view value, std::vector<OrderEntry>& out);

// list: tenant, user, conversation id -> number
std::string list_key(std::string_view user, std::string_view conversation);

// Default column family: few rows about the whole. Each value ends with a checksum over key and value.
struct PositionRow {
  LogPosition position;
  std::uint64_t segment = 0;
  std::uint64_t last_number = 0;
  std::uint64_t newest_time_ms = 0;
};
struct SpanRow {  // of a volume (timeline, activity) or of a dedup generation
  LogPosition first;
  LogPosition last;
  std::uint64_t first_time_ms = 0;
  std::uint64_t last_time_ms = 0;
};
std::string position_key();
std::string watermark_key();
std::string volume_key(std::uint32_t number);
std::string generation_key(std::uint32_t number);
std::string encode_position(const PositionRow& row);
std::optional<PositionRow> decode_position(std::string_view value);
std::string encode_watermark(LogPosition position);
std::optional<LogPosition> decode_watermark(std::string_view value);
std::string encode_span(std::string_view key, const SpanRow& row);
std::optional<SpanRow> decode_span(std::string_view key, std::string_view value);

}  // namespace dunlin::embedded

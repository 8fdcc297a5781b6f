#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "messaging/ports/device_states.h"
#include "storage/embedded/state/recall_rows.h"

namespace dunlin::embedded {

// Keys and values of the state store; docs/storage-history.md gives each with worked bytes. Pure functions, no RocksDB. Every key begins
// with a tenant number (0 until tenants exist) and the row's kind. A decoder takes any bytes and gives nothing for what it does not know.

// device: user, device -> cursor
std::string device_prefix(std::string_view user);
std::string device_key(std::string_view user, std::string_view device);
std::optional<DeviceId> decode_device_key(std::string_view key);
// `order`: the higher the newer, of all cursors of a device in log and state (cursor_riders.h).
std::string encode_cursor(const DeviceCursor& cursor, std::uint64_t order);
std::optional<DeviceCursor> decode_cursor(std::string_view value);
// Looks at nothing else of the value. Rows of version 1 have none: 0.
std::optional<std::uint64_t> cursor_order(std::string_view value);

// read: user, conversation -> how far he has read, and where his row of the change index stands
struct ReadRow {
  MessageSeq seq;
  std::optional<InboxPosition> changed_at;  // nothing: no row in the index
};
std::string read_key(std::string_view user, std::string_view conversation);
std::string read_rows_prefix();  // of all users
std::optional<ConversationId> decode_read_key(std::string_view key);
std::string encode_read(const ReadRow& row);
std::optional<ReadRow> decode_read(std::string_view value);

// change: user, log position, conversation -> nothing
std::string change_prefix(std::string_view user);
std::string change_key(std::string_view user, InboxPosition at, std::string_view conversation);
std::optional<ReadChange> decode_change_key(std::string_view key);

// mark: nothing -> the epoch of the cursors that were saved last, and the highest position that any of them ever said
struct CursorMark {
  Epoch epoch;
  InboxPosition highest;
};
std::string mark_key();
std::string encode_mark(const CursorMark& mark);
std::optional<CursorMark> decode_mark(std::string_view value);

// recalled: conversation number, seq -> log position, and when it was recalled
std::string recall_prefix();
std::string recall_key(std::uint64_t conversation_number, MessageSeq seq);
std::string encode_recall(const RecallRow& row);
std::optional<RecallRow> decode_recall(std::string_view key, std::string_view value);

}  // namespace dunlin::embedded

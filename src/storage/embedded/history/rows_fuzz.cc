#include "storage/embedded/history/rows.h"

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/check.h"
#include "base/crc32c.h"
#include "storage/embedded/history/bytes.h"

namespace {

using namespace dunlin;
using namespace dunlin::embedded;

void decode_all(std::string_view key, std::string_view value) {
  static_cast<void>(is_lost_record(key, value));
  static_cast<void>(peek_record(value));
  static_cast<void>(activity_row_position(key));
  CHECK(user_prefix_bytes(key) <= key.size());
  static_cast<void>(decode_watermark(value));
  static_cast<void>(decode_position(value));
  static_cast<void>(decode_span(key, value));
  static_cast<void>(decode_dedup(DedupKey{}, value));
  std::string again;
  if (const MessagePtr message = decode_record(key, value)) {
    encode_record(key, *message, again);
    const MessagePtr same = decode_record(key, again);
    CHECK(same && same->body() == message->body() && same->sender() == message->sender() &&
          same->place().position == message->place().position);
  }
  if (const auto head = decode_head(key, value)) {
    encode_head(key, *head, again);
    const auto same = decode_head(key, again);
    CHECK(same && same->last_seq == head->last_seq && same->last_position == head->last_position);
  }
  std::vector<ActivityEntry> activity;
  if (decode_activity(key, value, activity)) CHECK(activity.size() <= value.size());
  std::vector<OrderEntry> order;
  if (decode_order(key, value, order)) CHECK(order.size() <= value.size());
}

}  // namespace

// Every decoder on any key and value, and on the same value with the right checksum, which no chance would find.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data + 1), size - 1);
  const std::size_t cut = std::min<std::size_t>(data[0], bytes.size());
  const std::string_view key = bytes.substr(0, cut);
  std::string value(bytes.substr(cut));
  decode_all(key, value);
  append_be32(value, crc32c(value, crc32c(key)));
  decode_all(key, value);
  decode_all(TimelineKey(7, MessageSeq(3)).view(), value);
  return 0;
}

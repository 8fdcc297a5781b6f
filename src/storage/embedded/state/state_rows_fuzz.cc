#include "storage/embedded/state/state_rows.h"

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/check.h"

// Every decoder on any bytes; what it takes is written again as something that it takes as the same.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace dunlin;
  using namespace dunlin::embedded;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  static_cast<void>(decode_device_key(bytes));
  if (const auto change = decode_change_key(bytes)) CHECK(change->conversation.view().size() <= bytes.size());
  if (const auto cursor = decode_cursor(bytes)) {
    const auto same = decode_cursor(encode_cursor(*cursor, *cursor_order(bytes)));
    CHECK(same && same->position == cursor->position && same->exceptions == cursor->exceptions);
  }
  if (const auto row = decode_read(bytes)) {
    const auto same = decode_read(encode_read(*row));
    CHECK(same && same->seq == row->seq && same->changed_at == row->changed_at);
  }
  if (const auto row = decode_recall(recall_key(7, MessageSeq(3)), bytes)) CHECK(row->seq == MessageSeq(3));
  static_cast<void>(decode_recall(bytes, bytes));
  return 0;
}

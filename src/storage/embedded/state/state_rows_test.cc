#include "storage/embedded/state/state_rows.h"

#include <gtest/gtest.h>

#include "storage/embedded/testing/worked_bytes.h"

namespace dunlin::embedded {
namespace {

// The worked examples of docs/storage-history.md: a change here is a change of the format.
TEST(StateRowsTest, DeviceRowHasItsWorkedBytes) {
  EXPECT_EQ(hex(device_key("ada", "phone")), packed("00000000 64 03 616461 70686f6e65"));
  DeviceCursor cursor{Epoch{0x0102030405060708}, InboxPosition(300), {}, from_ms(1'700'000'000'000)};
  cursor.exceptions.emplace(ConversationId("p3:ada:bob"), MessageSeq(1));
  const std::string value = encode_cursor(cursor, 1'700'000'000'000'001);
  EXPECT_EQ(hex(value), packed("02 00060a24181e4001 0102030405060708 0000018bcfe56800 ac02 01 0a70333a6164613a626f62 01"));
  EXPECT_EQ(cursor_order(value), 1'700'000'000'000'001U);
  const auto back = decode_cursor(value);
  ASSERT_TRUE(back);
  EXPECT_EQ(back->epoch, cursor.epoch);
  EXPECT_EQ(back->position, cursor.position);
  EXPECT_EQ(back->exceptions, cursor.exceptions);
  EXPECT_EQ(back->last_seen, cursor.last_seen);
  for (std::size_t size = 0; size < value.size(); ++size) EXPECT_FALSE(decode_cursor(std::string_view(value).substr(0, size)));
  EXPECT_FALSE(decode_cursor(value + "x"));

  cursor.platform = static_cast<metrics::Platform>(3);
  const std::string longer = encode_cursor(cursor, 1'700'000'000'000'001);
  EXPECT_EQ(longer, value + "\x03") << "a row without a platform stays as it was";
  const auto with_platform = decode_cursor(longer);
  ASSERT_TRUE(with_platform);
  EXPECT_EQ(with_platform->platform, cursor.platform);
  EXPECT_EQ(with_platform->exceptions, cursor.exceptions);
  EXPECT_FALSE(with_platform->forgotten);
  EXPECT_FALSE(decode_cursor(longer + "x"));
  EXPECT_FALSE(decode_cursor(value + "\x09")) << "no platform";
  EXPECT_FALSE(decode_cursor(value + std::string(1, '\0')));

  const DeviceCursor gone = DeviceCursor::of_forgotten(from_ms(1'700'000'000'000));
  const auto forgotten = decode_cursor(encode_cursor(gone, 1));
  ASSERT_TRUE(forgotten);
  EXPECT_TRUE(forgotten->forgotten);
  EXPECT_EQ(forgotten->last_seen, gone.last_seen);
  EXPECT_EQ(static_cast<unsigned char>(encode_cursor(gone, 1).back()), 0x80);

  // A row of version 1 has no order: whatever rides is newer.
  const std::string first = "\x01" + value.substr(9);
  EXPECT_EQ(cursor_order(first), 0U);
  ASSERT_TRUE(decode_cursor(first));
  EXPECT_EQ(decode_cursor(first)->exceptions, back->exceptions);
  EXPECT_FALSE(cursor_order("\x03" + value.substr(1)));
  EXPECT_FALSE(decode_cursor("\x03" + value.substr(1)));
  EXPECT_EQ(*decode_device_key(device_key("ada", "phone")), DeviceId("phone"));
}

TEST(StateRowsTest, ReadAndChangeRowsHaveTheirWorkedBytes) {
  EXPECT_EQ(hex(read_key("ada", "p3:ada:bob")), packed("00000000 72 03 616461 70333a6164613a626f62"));
  EXPECT_EQ(hex(encode_read({MessageSeq(2), InboxPosition(300)})), packed("01 02 ac02"));
  EXPECT_EQ(hex(encode_read({MessageSeq(2), std::nullopt})), packed("01 02"));
  EXPECT_EQ(*decode_read(encode_read({MessageSeq(2), InboxPosition(300)}))->changed_at, InboxPosition(300));
  EXPECT_FALSE(decode_read(encode_read({MessageSeq(2), std::nullopt}))->changed_at);
  EXPECT_FALSE(decode_read(""));
  EXPECT_FALSE(decode_read("\x02\x02"));
  const std::string key = change_key("ada", InboxPosition(300), "p3:ada:bob");
  EXPECT_EQ(hex(key), packed("00000000 78 03 616461 000000000000012c 70333a6164613a626f62"));
  const auto change = decode_change_key(key);
  ASSERT_TRUE(change);
  EXPECT_EQ(change->at, InboxPosition(300));
  EXPECT_EQ(change->conversation, ConversationId("p3:ada:bob"));
  for (std::size_t size = 0; size < 17; ++size) EXPECT_FALSE(decode_change_key(std::string_view(key).substr(0, size)));
}

TEST(StateRowsTest, RecallRowHasItsWorkedBytes) {
  const RecallRow row{7, MessageSeq(2), LogPosition(300), 1'700'000'000'000};
  const std::string key = recall_key(row.conversation_number, row.seq);
  const std::string value = encode_recall(row);
  EXPECT_EQ(hex(key), packed("00000000 65 0000000000000007 0000000000000002"));
  EXPECT_EQ(hex(value), packed("01 ac02 80d095ffbc31"));
  const auto back = decode_recall(key, value);
  ASSERT_TRUE(back);
  EXPECT_EQ(back->conversation_number, 7U);
  EXPECT_EQ(back->seq, MessageSeq(2));
  EXPECT_EQ(back->position, LogPosition(300));
  EXPECT_EQ(back->time_ms, row.time_ms);
  for (std::size_t size = 0; size < value.size(); ++size) EXPECT_FALSE(decode_recall(key, std::string_view(value).substr(0, size)));
  for (std::size_t size = 0; size < key.size(); ++size) EXPECT_FALSE(decode_recall(std::string_view(key).substr(0, size), value));
  EXPECT_FALSE(decode_recall(key, value + "x"));
  EXPECT_FALSE(decode_recall(key + "x", value));
  EXPECT_FALSE(decode_recall(key, "\x02" + value.substr(1)));
}

}  // namespace
}  // namespace dunlin::embedded

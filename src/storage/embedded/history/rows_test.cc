#include "storage/embedded/history/rows.h"

#include <gtest/gtest.h>

#include <string>

#include "storage/embedded/history/bytes.h"
#include "storage/embedded/testing/worked_bytes.h"

namespace dunlin::embedded {
namespace {

// The worked examples of docs/storage-history.md: a change here is a change of the format.
MessagePtr example() {
  MessageDraft draft;
  draft.conversation = "p3:ada:bob";
  draft.sender = "ada";
  draft.client_msg_id = "m1";
  draft.body = "\"hi\"";
  MessagePtr message = Message::create(draft);
  MessagePlace place;
  place.seq = MessageSeq(2);
  place.position = LogPosition(300);
  place.previous = LogPosition(297);
  place.time_ms = 1'700'000'000'000;
  place.conversation_number = 7;
  place.first_user_count = 1;
  message->set_place(place);
  return message;
}

TEST(RowsTest, TimelineRowHasItsWorkedBytes) {
  const TimelineKey key(7, MessageSeq(2));
  EXPECT_EQ(hex(key.view()), packed("00000000 0000000000000007 0000000000000002"));
  std::string value;
  encode_record(key.view(), *example(), value);
  EXPECT_EQ(hex(value), packed("01 ac02 03 80d095ffbc31 01 0a70333a6164613a626f62 03616461 026d31 00 22686922 0a2095b6"));
}

TEST(RowsTest, RecordsComeBackWhole) {
  const TimelineKey key(7, MessageSeq(2));
  std::string value;
  encode_record(key.view(), *example(), value);
  const MessagePtr back = decode_record(key.view(), value);
  ASSERT_TRUE(back);
  EXPECT_EQ(back->conversation(), "p3:ada:bob");
  EXPECT_EQ(back->sender(), "ada");
  EXPECT_EQ(back->client_msg_id(), "m1");
  EXPECT_EQ(back->content_type(), "");
  EXPECT_EQ(back->body(), "\"hi\"");
  EXPECT_EQ(back->seq(), MessageSeq(2));
  EXPECT_EQ(back->place().position, LogPosition(300));
  EXPECT_EQ(back->place().previous, LogPosition(297));
  EXPECT_EQ(back->place().time_ms, 1'700'000'000'000u);
  EXPECT_EQ(back->place().conversation_number, 7u);
  EXPECT_EQ(back->place().first_user_count, 1u);
  const auto positions = peek_record(value);
  ASSERT_TRUE(positions);
  EXPECT_EQ(positions->position, LogPosition(300));
  EXPECT_EQ(positions->previous, LogPosition(297));
}

TEST(RowsTest, EveryFlippedBitEveryPrefixAndEveryOtherKeyOfARecordIsDamage) {
  const TimelineKey key(7, MessageSeq(2));
  std::string value;
  encode_record(key.view(), *example(), value);
  for (std::size_t bit = 0; bit < value.size() * 8; ++bit) {
    std::string broken = value;
    broken[bit / 8] = static_cast<char>(broken[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_FALSE(decode_record(key.view(), broken)) << bit;
    peek_record(broken);
  }
  for (std::size_t size = 0; size < value.size(); ++size) EXPECT_FALSE(decode_record(key.view(), value.substr(0, size)));
  EXPECT_FALSE(decode_record(TimelineKey(7, MessageSeq(3)).view(), value));
  EXPECT_FALSE(decode_record("", value));
}

TEST(RowsTest, ALostRecordIsNoMessageButHasItsPlace) {
  const TimelineKey key(7, MessageSeq(2));
  std::string value;
  encode_lost(key.view(), LogPosition(300), value);
  EXPECT_EQ(hex(value), packed("02 ac02 ac02 ee860afc"));
  EXPECT_TRUE(is_lost_record(key.view(), value));
  EXPECT_FALSE(decode_record(key.view(), value));
  EXPECT_EQ(peek_record(value)->position, LogPosition(300));
  encode_record(key.view(), *example(), value);
  EXPECT_FALSE(is_lost_record(key.view(), value));
}

TEST(RowsTest, ARecalledMessageHasItsWorkedBytesAndNoContent) {
  const TimelineKey key(7, MessageSeq(2));
  std::string value;
  encode_record(key.view(), *Message::recalled(*example()), value);
  EXPECT_EQ(hex(value), packed("03 ac02 03 80d095ffbc31 01 0a70333a6164613a626f62 03616461 026d31 ad7ee713"));
  EXPECT_TRUE(is_recalled_value(value));
  EXPECT_FALSE(is_lost_record(key.view(), value));
  const MessagePtr back = decode_record(key.view(), value);
  ASSERT_TRUE(back);
  EXPECT_TRUE(back->is_recalled());
  EXPECT_EQ(back->client_msg_id(), "m1");
  EXPECT_EQ(back->sender(), "ada");
  EXPECT_EQ(back->content_type(), "");
  EXPECT_EQ(back->body(), "");
  EXPECT_EQ(back->place().previous, LogPosition(297));
  EXPECT_EQ(back->place().first_user_count, 1u);
  const auto positions = peek_record(value);
  ASSERT_TRUE(positions);
  EXPECT_EQ(positions->position, LogPosition(300));
  EXPECT_EQ(positions->previous, LogPosition(297));
  for (std::size_t bit = 0; bit < value.size() * 8; ++bit) {
    std::string broken = value;
    broken[bit / 8] = static_cast<char>(broken[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_FALSE(decode_record(key.view(), broken)) << bit;
  }
  for (std::size_t size = 0; size < value.size(); ++size) EXPECT_FALSE(decode_record(key.view(), value.substr(0, size)));
  encode_record(key.view(), *example(), value);
  EXPECT_FALSE(is_recalled_value(value));
}

TEST(RowsTest, DedupRowHasItsWorkedBytes) {
  const DedupEntry entry{{0x0102030405060708, 0x1112131415161718}, 0x2122232425262728, MessageSeq(2), 1'700'000'000'000};
  char key[kDedupKeyBytes];
  char value[kDedupValueBytes];
  encode_dedup_key(entry.key, key);
  encode_dedup_value(entry, value);
  EXPECT_EQ(hex({key, sizeof key}), packed("00000000 0102030405060708 1112131415161718"));
  EXPECT_EQ(hex({value, sizeof value}), packed("2122232425262728 0000000000000002 0000018bcfe56800"));
  const auto back = decode_dedup(entry.key, {value, sizeof value});
  ASSERT_TRUE(back);
  EXPECT_EQ(back->body_digest, entry.body_digest);
  EXPECT_EQ(back->seq, entry.seq);
  EXPECT_EQ(back->time_ms, entry.time_ms);
  EXPECT_FALSE(decode_dedup(entry.key, {value, sizeof value - 1}));
}

TEST(RowsTest, HeadsRowHasItsWorkedBytesAndItsChecksum) {
  const std::string key = heads_key("p3:ada:bob");
  EXPECT_EQ(hex(key), packed("00000000 70333a6164613a626f62"));
  std::string value;
  encode_head(key, {7, MessageSeq(2), LogPosition(300), 1, MessageSeq(1)}, value);
  EXPECT_EQ(hex(value), packed("01 07 02 ac02 01 91508c51"));
  const auto head = decode_head(key, value);
  ASSERT_TRUE(head);
  EXPECT_EQ(head->number, 7u);
  EXPECT_EQ(head->last_seq, MessageSeq(2));
  EXPECT_EQ(head->last_position, LogPosition(300));
  EXPECT_EQ(head->first_user_count, 1u);
  for (std::size_t bit = 0; bit < value.size() * 8; ++bit) {
    std::string broken = value;
    broken[bit / 8] = static_cast<char>(broken[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_FALSE(decode_head(key, broken));
  }
}

TEST(RowsTest, ActivityRowHasItsWorkedBytes) {
  const std::string key = activity_key("ada", LogPosition(300));
  EXPECT_EQ(hex(key), packed("00000000 03 616461 000000000000012c"));
  EXPECT_EQ(user_prefix_bytes(key), 8u);
  std::string value;
  append_activity(value, LogPosition(300), "p3:ada:cyn", {{}, MessageSeq(5), MessageSeq(5), LogPosition(290), LogPosition(290)});
  append_activity(value, LogPosition(300), "p3:ada:bob", {{}, MessageSeq(1), MessageSeq(2), LogPosition(297), LogPosition(300)});
  EXPECT_EQ(hex(value), packed("01 0a 00 05 00 0a70333a6164613a63796e 00 03 01 01 0a70333a6164613a626f62"));
  std::vector<ActivityEntry> entries;
  ASSERT_TRUE(decode_activity(key, value, entries));
  ASSERT_EQ(entries.size(), 2u);
  EXPECT_EQ(entries[0].conversation, ConversationId("p3:ada:cyn"));
  EXPECT_EQ(entries[0].last_position, LogPosition(290));
  EXPECT_EQ(entries[1].first_position, LogPosition(297));
  EXPECT_EQ(entries[1].last_position, LogPosition(300));
  EXPECT_EQ(entries[1].first_seq, MessageSeq(1));
  EXPECT_EQ(entries[1].last_seq, MessageSeq(2));
  for (std::size_t size = 0; size < value.size(); ++size) {
    entries.clear();
    decode_activity(key, value.substr(0, size), entries);
    EXPECT_LE(entries.size(), 1u);
  }
}

TEST(RowsTest, ListAndMetaRowsHaveTheirWorkedBytes) {
  EXPECT_EQ(hex(list_key("ada", "p3:ada:bob")), packed("00000000 03 616461 70333a6164613a626f62"));
  EXPECT_EQ(hex(position_key()), packed("00000000 706f736974696f6e"));
  EXPECT_EQ(hex(encode_position({LogPosition(300), 4, 7, 1'700'000'000'000})), packed("01 ac02 04 07 80d095ffbc31 26ca79fb"));
  EXPECT_EQ(hex(encode_watermark(LogPosition(200))), packed("01 c801 0c68b397"));
  EXPECT_EQ(hex(volume_key(3)), packed("00000000 766f6c756d65 00000003"));
  EXPECT_EQ(hex(generation_key(3)), packed("00000000 6465647570 00000003"));
  EXPECT_EQ(decode_position(encode_position({LogPosition(300), 4, 7, 9}))->last_number, 7u);
  EXPECT_EQ(*decode_watermark(encode_watermark(LogPosition(200))), LogPosition(200));
  const SpanRow span{LogPosition(201), LogPosition(300), 5, 6};
  const auto back = decode_span(volume_key(3), encode_span(volume_key(3), span));
  ASSERT_TRUE(back);
  EXPECT_EQ(back->first, span.first);
  EXPECT_EQ(back->last, span.last);
  EXPECT_EQ(back->first_time_ms, 5u);
  EXPECT_EQ(back->last_time_ms, 6u);
  EXPECT_FALSE(decode_span(volume_key(4), encode_span(volume_key(3), span)));
}

TEST(RowsTest, VarintsHoldEveryWidthAndRefuseWhatIsTooLong) {
  for (unsigned bits = 0; bits < 64; ++bits) {
    for (const std::uint64_t value : {1ULL << bits, (1ULL << bits) - 1}) {
      std::string bytes;
      append_varint(bytes, value);
      ByteReader reader(bytes);
      EXPECT_EQ(reader.varint(), value);
      EXPECT_TRUE(reader.ok());
      ByteReader cut(std::string_view(bytes).substr(0, bytes.size() - 1));
      cut.varint();
      EXPECT_FALSE(cut.ok());
    }
  }
  ByteReader endless(std::string_view("\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", 11));
  endless.varint();
  EXPECT_FALSE(endless.ok());
}

TEST(RowsTest, OrderRowHasItsWorkedBytes) {
  std::string value;
  append_order(value, 1, MessageSeq(2));
  append_order(value, 7, MessageSeq(2));
  const std::string key = activity_key({}, LogPosition(300));
  EXPECT_EQ(key, std::string("\0\0\0\0\0\0\0\0\0\0\0\x01\x2c", 13));
  EXPECT_EQ(value, std::string("\x01\x01\x02\x07\x02", 5));
  std::vector<OrderEntry> entries;
  ASSERT_TRUE(decode_order(key, value, entries));
  ASSERT_EQ(entries.size(), 2U);
  EXPECT_EQ(entries[0].position, LogPosition(299));
  EXPECT_EQ(entries[0].number, 1U);
  EXPECT_EQ(entries[1].position, LogPosition(300));
  EXPECT_EQ(entries[1].seq, MessageSeq(2));
  EXPECT_FALSE(decode_order(key, value.substr(0, 4), entries)) << "half an entry";
  EXPECT_FALSE(decode_order(activity_key({}, LogPosition(1)), value, entries)) << "more records than positions";
}

}  // namespace
}  // namespace dunlin::embedded

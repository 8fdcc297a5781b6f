#include "storage/embedded/log/batch_codec.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "storage/embedded/log/log_scan.h"

namespace dunlin::embedded {
namespace {

constexpr std::uint32_t kSecret = 0x01020304;

MessagePtr message(std::uint64_t seq, std::uint64_t position, std::string_view body) {
  MessagePtr m = Message::create({"p5:alice:bob", "alice", "x1", "", body});
  m->set_place({MessageSeq(seq), LogPosition(position), LogPosition(position - 1), 1700000000000, 7, seq});
  return m;
}

std::string batch(LogPlace place, std::vector<MessagePtr> messages, LogPlace synced = {}, LogPlace previous = {}) {
  BatchHead head;
  head.place = place;
  head.bytes = encoded_bytes(messages);
  head.first = messages.empty() ? LogPosition(1) : messages.front()->place().position;
  head.synced = synced;
  head.previous = previous;
  head.count = static_cast<std::uint32_t>(messages.size());
  std::string out(head.bytes, '?');
  encode_batch(head, messages, kSecret, out.data());
  return out;
}

std::string hex_dump(std::string_view bytes) {
  std::string out;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    out += fmt::format("{:02x}{}", static_cast<unsigned char>(bytes[i]), i % 16 == 15 || i + 1 == bytes.size() ? "\n" : " ");
  }
  return out;
}

TEST(BatchCodec, BytesAreThoseOfTheDocumentedExample) {
  // The same bytes stand in docs/storage.md. If this fails the format has changed: old data folders can no longer be read.
  std::ifstream file(std::string(DUNLIN_SOURCE_DIR) + "/src/storage/embedded/log/testdata/one_record_batch.hex");
  std::stringstream golden;
  golden << file.rdbuf();
  EXPECT_EQ(hex_dump(batch({3, 0}, {message(2, 9, R"({"text":"hi"})")}, {2, 4096}, {2, 4096})), golden.str());
}

BatchHead cursors_head(LogPlace place, std::size_t size) {
  BatchHead head;
  head.place = place;
  head.bytes = cursors_bytes(size);
  head.first = LogPosition(10);
  head.synced = {2, 4096};
  head.previous = {2, 4096};
  head.kind = BatchHead::Kind::Cursors;
  return head;
}

// The batch of the example above, and behind it one with the rider of CursorRidersTest.ARiderHasItsWorkedBytes.
std::string with_cursors() {
  const std::string rider = std::string(
                                "\x03"
                                "ada\x05phone\x27\x02\x00\x06\x0a\x24\x18\x1e\x40\x00",
                                20) +
                            std::string("\x01\x02\x03\x04\x05\x06\x07\x08\x00\x00\x01\x8b\xcf\xe5\x68\x00\x09\x01\x0ap3:ada:bob\x01", 30);
  std::string bytes = batch({3, 0}, {message(2, 9, R"({"text":"hi"})")}, {2, 4096}, {2, 4096});
  const auto at = static_cast<std::uint32_t>(bytes.size());
  const BatchHead head = cursors_head({3, at}, rider.size());
  bytes.resize(at + head.bytes, '?');
  encode_cursors(head, rider, kSecret, bytes.data() + at);
  return bytes;
}

TEST(BatchCodec, CursorsBehindABatchHaveTheBytesOfTheDocumentedExample) {
  std::ifstream file(std::string(DUNLIN_SOURCE_DIR) + "/src/storage/embedded/log/testdata/cursors_batch.hex");
  std::stringstream golden;
  golden << file.rdbuf();
  EXPECT_EQ(hex_dump(with_cursors().substr(192)), golden.str());
}

TEST(BatchCodec, CursorsAreReadBackAndEveryFlippedBitOfThemIsNoticed) {
  const std::string bytes = with_cursors();
  const SegmentIndex index = index_segment(bytes, kSecret);
  ASSERT_EQ(index.batches.size(), 2U);
  const BatchHead& head = index.batches.back();
  EXPECT_EQ(head.kind, BatchHead::Kind::Cursors);
  EXPECT_EQ(head.count, 0U);
  EXPECT_EQ(head.last(), LogPosition(9)) << "it takes no position";
  EXPECT_EQ(head.end(), bytes.size());
  EXPECT_EQ(decode_cursors(bytes, head).substr(0, 10),
            "\x03"
            "ada\x05phone");
  for (std::size_t bit = std::size_t{head.place.offset} * 8; bit < bytes.size() * 8; ++bit) {
    std::string flipped = bytes;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_FALSE(decode_batch_head(flipped, head.place.offset, kSecret)) << bit;
    EXPECT_TRUE(decode_batch_head(flipped, 0, kSecret)) << "the records in front";
  }
  for (std::size_t size = head.place.offset; size < bytes.size(); ++size) {
    EXPECT_FALSE(decode_batch_head(std::string_view(bytes).substr(0, size), head.place.offset, kSecret));
  }
}

TEST(BatchCodec, ReadsBackWhatItWrote) {
  const std::string bytes = batch({3, 0}, {message(1, 8, "{}"), message(2, 9, std::string(5000, 'x'))}, {2, 64}, {2, 80});
  const auto head = decode_batch_head(bytes, 0, kSecret);
  ASSERT_TRUE(head);
  EXPECT_EQ(head->count, 2U);
  EXPECT_EQ(head->first, LogPosition(8));
  EXPECT_EQ(head->last(), LogPosition(9));
  EXPECT_EQ(head->synced, (LogPlace{2, 64}));
  EXPECT_EQ(head->previous, (LogPlace{2, 80}));
  std::uint32_t at = batch_records_offset(2);
  for (std::uint32_t i = 0; i < 2; ++i) {
    const TableRow row = decode_table_row(bytes, *head, i);
    EXPECT_EQ(row.conversation_number, 7U);
    EXPECT_EQ(row.seq, MessageSeq(i + 1));
    const DecodedRecord record = decode_record(bytes, {3, at}, at + row.bytes, kSecret);
    ASSERT_TRUE(record.message);
    EXPECT_EQ(record.message->conversation(), "p5:alice:bob");
    EXPECT_EQ(record.message->sender(), "alice");
    EXPECT_EQ(record.message->client_msg_id(), "x1");
    EXPECT_EQ(record.message->body(), i == 0 ? std::string("{}") : std::string(5000, 'x'));
    EXPECT_EQ(record.message->place().previous, LogPosition(7 + i));
    EXPECT_EQ(record.message->place().time_ms, 1700000000000U);
    at += row.bytes;
  }
}

TEST(BatchCodec, NoPrefixOfABatchIsABatch) {
  const std::string bytes = batch({3, 0}, {message(1, 8, "{}")});
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(decode_batch_head(std::string_view(bytes).substr(0, size), 0, kSecret)) << size;
  }
}

TEST(BatchCodec, EveryFlippedBitIsNoticed) {
  const std::string bytes = batch({3, 0}, {message(1, 8, R"({"text":"hello"})")});
  const auto whole = decode_batch_head(bytes, 0, kSecret);
  ASSERT_TRUE(whole);
  const std::uint32_t records = batch_records_offset(1);
  const std::size_t padding = bytes.size() - (bytes.find_last_not_of('\0') + 1);
  for (std::size_t bit = 0; bit < (bytes.size() - padding) * 8; ++bit) {
    std::string flipped = bytes;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    const auto head = decode_batch_head(flipped, 0, kSecret);
    if (bit / 8 < records) {
      EXPECT_FALSE(head) << bit;
      continue;
    }
    ASSERT_TRUE(head) << bit;
    const DecodedRecord record = decode_record(flipped, {3, records}, head->bytes, kSecret);
    EXPECT_FALSE(record.message) << bit;
    // The body's damage leaves the name readable, so that the loss can be told by conversation.
    if (bit / 8 >= bytes.find("{\"text\"")) {
      EXPECT_EQ(record.conversation, "p5:alice:bob");
    }
  }
}

TEST(BatchCodec, BytesOfAnotherPlaceGenerationOrStoreNeverPass) {
  const std::string bytes = batch({3, 0}, {message(1, 8, "{}")});
  EXPECT_FALSE(decode_batch_head(std::string(8, '\0') + bytes, 8, kSecret));
  EXPECT_FALSE(decode_batch_head(bytes, 0, kSecret + 1));
  const std::uint32_t records = batch_records_offset(1);
  const auto size = static_cast<std::uint32_t>(bytes.size());
  EXPECT_TRUE(decode_record(bytes, {3, records}, size, kSecret).message);
  EXPECT_FALSE(decode_record(bytes, {4, records}, size, kSecret).head_ok);
  EXPECT_FALSE(decode_record(std::string(8, '\0') + bytes, {3, records + 8}, size + 8, kSecret).head_ok);
}

TEST(SegmentIndex, ShowsOnlyTheNewestGenerationOfARecycledFile) {
  const std::string old_first = batch({3, 0}, {message(1, 8, std::string(100, 'o'))});
  const std::string old_second = batch({3, static_cast<std::uint32_t>(old_first.size())}, {message(2, 9, std::string(3000, 'o'))});
  std::string file = old_first + old_second + std::string(4096, '\0');
  EXPECT_EQ(index_segment(file, kSecret).batches.size(), 2U);
  const std::string fresh = batch({5, 0}, {message(30, 80, "{}")});
  ASSERT_LT(fresh.size(), old_first.size());
  file.replace(0, fresh.size(), fresh);
  const SegmentIndex index = index_segment(file, kSecret);
  EXPECT_EQ(index.generation, 5U);
  ASSERT_EQ(index.batches.size(), 1U) << "records of an earlier life show";
  EXPECT_EQ(index.batches[0].first, LogPosition(80));
}

TEST(BatchCodec, AnErasedRecordKeepsItsPlaceAndNothingOfItsContent) {
  const MessagePtr m = Message::create({"p5:alice:bob", "alice", "x1", "text/plain", "secret-body"});
  m->set_place({MessageSeq(2), LogPosition(9), LogPosition(8), 1700000000000, 7, 2});
  const std::string whole = batch({3, 64}, {m});
  const std::uint32_t at = batch_records_offset(1);
  std::string file(64, '\0');
  file += whole;
  std::string record = file.substr(64 + at);
  for (int times = 0; times < 2; ++times) {
    erase_record(record, {3, 64 + at}, kSecret);
    EXPECT_EQ(record.size(), record_bytes(*m));
    file.replace(64 + at, record.size(), record);
    const DecodedRecord erased = decode_record(file, {3, 64 + at}, static_cast<std::uint32_t>(file.size()), kSecret);
    EXPECT_TRUE(erased.head_ok);
    EXPECT_TRUE(erased.body_ok);
    EXPECT_FALSE(erased.known) << "of a type that is skipped";
    EXPECT_FALSE(erased.message);
    EXPECT_EQ(erased.position, LogPosition(9));
    EXPECT_EQ(erased.seq, MessageSeq(2));
    EXPECT_EQ(record.find("secret"), std::string::npos);
    EXPECT_EQ(record.find("plain"), std::string::npos);
    EXPECT_NE(record.find("alice"), std::string::npos);
  }
  ASSERT_TRUE(decode_batch_head(file, 64, kSecret)) << "the batch is as it was";
}

TEST(BatchCodec, ErasingADamagedRecordLeavesZerosWhateverItsBytesSay) {
  const std::string whole = batch({3, 0}, {message(1, 8, "secret-body")});
  const std::uint32_t at = batch_records_offset(1);
  for (std::size_t byte = 0; byte < kRecordHeadBytes; ++byte) {
    std::string record = whole.substr(at);
    record[byte] = static_cast<char>(record[byte] ^ 0xFF);
    erase_record(record, {3, at}, kSecret);
    EXPECT_EQ(record.find("secret"), std::string::npos) << byte;
  }
  std::string stub = "short";
  erase_record(stub, {3, at}, kSecret);
  EXPECT_EQ(stub, std::string(5, '\0'));
}

}  // namespace
}  // namespace dunlin::embedded

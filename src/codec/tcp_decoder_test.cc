#include "codec/tcp_decoder.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace dunlin {
namespace {

struct Outcome {
  std::vector<std::string> messages;
  bool too_large = false;
  bool operator==(const Outcome&) const = default;
};

Outcome decode(Framing framing, std::size_t max, const std::vector<std::string>& pieces) {
  TcpDecoder decoder;
  Outcome outcome;
  for (const std::string& piece : pieces) {
    std::vector<char> memory(piece.begin(), piece.end());
    memory.resize(piece.size() + kPayloadPadding);
    MutableBytes input{memory.data(), piece.size()};
    while (true) {
      const auto event = decoder.next(framing, max, input);
      if (event.type == TcpDecoder::Type::NeedMore) break;
      if (event.type == TcpDecoder::Type::TooLarge) {
        outcome.too_large = true;
        return outcome;
      }
      outcome.messages.emplace_back(event.payload.view());
    }
    EXPECT_EQ(input.size, 0U);
  }
  return outcome;
}

void expect_outcome(Framing framing, std::size_t max, const std::string& bytes, const Outcome& expected) {
  EXPECT_EQ(decode(framing, max, {bytes}).messages, expected.messages);
  for (std::size_t cut = 1; cut < bytes.size(); ++cut) {
    const Outcome outcome = decode(framing, max, {bytes.substr(0, cut), bytes.substr(cut)});
    ASSERT_EQ(outcome.messages, expected.messages) << "cut at " << cut;
    ASSERT_EQ(outcome.too_large, expected.too_large) << "cut at " << cut;
  }
  std::vector<std::string> single;
  for (char c : bytes) single.emplace_back(1, c);
  ASSERT_EQ(decode(framing, max, single).messages, expected.messages);
}

TEST(TcpDecoderTest, FirstByteTellsTheFraming) {
  EXPECT_EQ(TcpDecoder::framing_of('{'), Framing::TcpLines);
  EXPECT_EQ(TcpDecoder::framing_of('\0'), Framing::TcpLength);
  for (int byte = 1; byte < 256; ++byte) {
    if (byte == '{') continue;
    EXPECT_EQ(TcpDecoder::framing_of(static_cast<char>(byte)), std::nullopt) << byte;
  }
}

TEST(TcpDecoderTest, CutsPayloadsByTheirLength) {
  std::string bytes;
  append_length_frame(bytes, "first");
  append_length_frame(bytes, "");
  append_length_frame(bytes, std::string(300, 'x'));
  expect_outcome(Framing::TcpLength, 300, bytes, {{"first", "", std::string(300, 'x')}});
}

TEST(TcpDecoderTest, RefusesALengthOverTheLimitFromTheHeaderAlone) {
  EXPECT_TRUE(decode(Framing::TcpLength, 100, {std::string("\0\0\0\x65", 4)}).too_large);
  EXPECT_TRUE(decode(Framing::TcpLength, 100, {std::string("\x7f\xff\xff\xff", 4)}).too_large);
  EXPECT_FALSE(decode(Framing::TcpLength, 100, {std::string("\0\0\0\x64", 4)}).too_large);
}

TEST(TcpDecoderTest, CutsLinesAndSkipsEmptyOnes) {
  expect_outcome(Framing::TcpLines, 100, "{\"a\":1}\n\r\n\n{\"b\":2}\r\n{}\n", {{"{\"a\":1}", "{\"b\":2}", "{}"}});
}

TEST(TcpDecoderTest, RefusesALineOverTheLimitBeforeItsEnd) {
  EXPECT_EQ(decode(Framing::TcpLines, 10, {std::string(10, 'x') + "\r\n"}).messages.size(), 1U);
  EXPECT_TRUE(decode(Framing::TcpLines, 10, {std::string(11, 'x') + "\n"}).too_large);
  EXPECT_TRUE(decode(Framing::TcpLines, 10, {std::string(12, 'x')}).too_large);
  EXPECT_TRUE(decode(Framing::TcpLines, 10, {std::string(6, 'x'), std::string(6, 'x')}).too_large);
}

TEST(TcpDecoderTest, KeepsMemoryOnlyForAnIncompleteMessage) {
  std::string bytes;
  append_length_frame(bytes, "hello");
  TcpDecoder decoder;
  MutableBytes first{bytes.data(), 6};
  EXPECT_EQ(decoder.next(Framing::TcpLength, 100, first).type, TcpDecoder::Type::NeedMore);
  EXPECT_GT(decoder.pinned_bytes(), 0U);
  MutableBytes rest{bytes.data() + 6, bytes.size() - 6};
  EXPECT_EQ(decoder.next(Framing::TcpLength, 100, rest).payload.view(), "hello");
  EXPECT_EQ(decoder.next(Framing::TcpLength, 100, rest).type, TcpDecoder::Type::NeedMore);
  EXPECT_EQ(decoder.pinned_bytes(), 0U);
}

TEST(FramingTest, SharedFramesEqualAppendedOnes) {
  for (Framing framing : {Framing::WebSocket, Framing::TcpLength, Framing::TcpLines}) {
    for (std::size_t size : {0U, 5U, 126U, 70000U}) {
      std::string appended;
      append_frame(appended, framing, MessageKind::Binary, std::string(size, 'z'));
      EXPECT_EQ(encode_frame(framing, MessageKind::Binary, std::string(size, 'z')).view(), appended);
    }
  }
}

}  // namespace
}  // namespace dunlin

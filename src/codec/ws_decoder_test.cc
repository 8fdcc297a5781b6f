#include "codec/ws_decoder.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "codec/ws_frame.h"

namespace dunlin {
namespace {

using Type = WsDecoder::Type;

struct Seen {
  Type type;
  MessageKind kind;
  std::string payload;
  std::uint16_t code;
  auto operator<=>(const Seen&) const = default;
};
void PrintTo(const Seen& seen, std::ostream* os) {
  *os << static_cast<int>(seen.type) << "/" << seen.code << "/" << seen.payload.size() << ":" << seen.payload.substr(0, 40);
}

// Feeds `pieces` one after the other, each in memory of its own with nothing readable behind but the padding.
std::vector<Seen> decode(const WsLimits& limits, const std::vector<std::string>& pieces) {
  WsDecoder decoder;
  std::vector<Seen> seen;
  for (const std::string& piece : pieces) {
    std::vector<char> memory(piece.begin(), piece.end());
    memory.resize(piece.size() + kPayloadPadding);
    MutableBytes input{memory.data(), piece.size()};
    while (true) {
      const WsDecoder::Event event = decoder.next(limits, input);
      if (event.type == Type::NeedMore) break;
      seen.push_back({event.type, event.kind, std::string(event.payload.view()), event.code});
      if (event.type == Type::Error || event.type == Type::Close) return seen;
    }
    EXPECT_EQ(input.size, 0U) << "NeedMore uses all of the input";
  }
  return seen;
}

std::string frame(WsOpcode opcode, std::string_view payload, bool fin = true, bool masked = true) {
  std::string out;
  append_ws_frame(out, opcode, payload, {.fin = fin, .masked = masked, .mask = 0x1b2c3d4e});
  return out;
}
Seen message(std::string payload, MessageKind kind = MessageKind::Text) {
  return {Type::Message, kind, std::move(payload), 0};
}
Seen error(std::uint16_t code) {
  return {Type::Error, MessageKind::Text, "", code};
}
const WsLimits kServer{};

// At once, at every split, and byte by byte it must give the same.
void expect_events(const WsLimits& limits, const std::string& bytes, const std::vector<Seen>& expected) {
  EXPECT_EQ(decode(limits, {bytes}), expected);
  for (std::size_t cut = 1; cut < bytes.size(); ++cut) {
    ASSERT_EQ(decode(limits, {bytes.substr(0, cut), bytes.substr(cut)}), expected) << "cut at " << cut;
  }
  std::vector<std::string> single;
  for (char c : bytes) single.emplace_back(1, c);
  ASSERT_EQ(decode(limits, single), expected) << "byte by byte";
}

TEST(WsDecoderTest, GivesMessagesOfEveryLengthForm) {
  for (std::size_t size : {0, 1, 125, 126, 127, 300}) {
    expect_events(kServer, frame(WsOpcode::Text, std::string(size, 'x')), {message(std::string(size, 'x'))});
  }
  const WsLimits large{.max_message_bytes = 1 << 20};
  for (std::size_t size : {65535U, 65536U, 70000U}) {
    EXPECT_EQ(decode(large, {frame(WsOpcode::Binary, std::string(size, 'y'))}),
              (std::vector{message(std::string(size, 'y'), MessageKind::Binary)}));
  }
}

TEST(WsDecoderTest, HandsACompleteFrameOutInPlace) {
  std::string bytes = frame(WsOpcode::Text, "hello");
  MutableBytes input{bytes.data(), bytes.size()};
  WsDecoder decoder;
  const auto event = decoder.next(kServer, input);
  EXPECT_EQ(event.payload.data, bytes.data() + 6);
  EXPECT_EQ(decoder.pinned_bytes(), 0U);
}

TEST(WsDecoderTest, KeepsMemoryOnlyWhileAMessageIsIncomplete) {
  std::string bytes = frame(WsOpcode::Text, "hello world");
  WsDecoder decoder;
  MutableBytes first{bytes.data(), 9};
  EXPECT_EQ(decoder.next(kServer, first).type, Type::NeedMore);
  EXPECT_GT(decoder.pinned_bytes(), 0U);
  MutableBytes rest{bytes.data() + 9, bytes.size() - 9};
  EXPECT_EQ(decoder.next(kServer, rest).payload.view(), "hello world");
  EXPECT_EQ(decoder.next(kServer, rest).type, Type::NeedMore);
  EXPECT_EQ(decoder.pinned_bytes(), 0U);
}

TEST(WsDecoderTest, JoinsFragmentsAndGivesControlFramesBetweenThemAtOnce) {
  expect_events(kServer,
                frame(WsOpcode::Text, "one ", false) + frame(WsOpcode::Ping, "p1") + frame(WsOpcode::Continuation, "two ", false) +
                    frame(WsOpcode::Pong, "") + frame(WsOpcode::Continuation, "three") + frame(WsOpcode::Binary, "next"),
                {{Type::Ping, MessageKind::Text, "p1", 0},
                 {Type::Pong, MessageKind::Text, "", 0},
                 message("one two three"),
                 message("next", MessageKind::Binary)});
}

TEST(WsDecoderTest, JoinsEmptyFragments) {
  expect_events(kServer, frame(WsOpcode::Text, "", false) + frame(WsOpcode::Continuation, "", false) + frame(WsOpcode::Continuation, ""),
                {message("")});
}

TEST(WsDecoderTest, RefusesWhatBreaksTheGrammar) {
  const std::string masked_empty("\x80\x01\x02\x03\x04", 5);
  const struct {
    const char* what;
    std::string bytes;
    std::uint16_t code;
  } cases[] = {
      {"rsv1", "\xc1" + masked_empty, 1002},
      {"rsv2", "\xa1" + masked_empty, 1002},
      {"rsv3", "\x91" + masked_empty, 1002},
      {"rsv on a ping", "\xc9" + masked_empty, 1002},
      {"opcode 3", "\x83" + masked_empty, 1002},
      {"opcode 7", "\x87" + masked_empty, 1002},
      {"opcode 11", "\x8b" + masked_empty, 1002},
      {"opcode 15", "\x8f" + masked_empty, 1002},
      {"unmasked", frame(WsOpcode::Text, "x", true, false), 1002},
      {"fragmented ping", frame(WsOpcode::Ping, "", false), 1002},
      {"long ping", frame(WsOpcode::Ping, std::string(126, 'p')), 1002},
      {"long close", frame(WsOpcode::Close, std::string("\x03\xe8", 2) + std::string(124, 'p')), 1002},
      {"continuation of nothing", frame(WsOpcode::Continuation, "x"), 1002},
      {"continuation after a message", frame(WsOpcode::Text, "x") + frame(WsOpcode::Continuation, "x"), 1002},
      {"text inside a message", frame(WsOpcode::Text, "x", false) + frame(WsOpcode::Text, "x"), 1002},
      {"binary inside a message", frame(WsOpcode::Text, "x", false) + frame(WsOpcode::Binary, "x", false), 1002},
      {"16-bit length below 126", std::string("\x81\xfe\x00\x7d\x00\x00\x00\x00", 8), 1002},
      {"64-bit length below 65536", std::string("\x81\xff\x00\x00\x00\x00\x00\x00\xff\xff\x00\x00\x00\x00", 14), 1002},
      {"length with its highest bit", std::string("\x81\xff\x80\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00", 14), 1002},
      {"2^63-1 bytes", std::string("\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00", 14), 1009},
      {"close with half a code", frame(WsOpcode::Close, "\x03"), 1002},
      {"close reason not UTF-8", frame(WsOpcode::Close, "\x03\xe8\xff"), 1007},
      {"text not UTF-8", frame(WsOpcode::Text, "ok\xff"), 1007},
      {"text cut in a character", frame(WsOpcode::Text, "\xce"), 1007},
  };
  for (const auto& one : cases) {
    for (std::size_t cut = 1; cut < one.bytes.size(); ++cut) {
      const auto seen = decode(kServer, {one.bytes.substr(0, cut), one.bytes.substr(cut)});
      ASSERT_FALSE(seen.empty()) << one.what << " cut at " << cut;
      EXPECT_EQ(seen.back(), error(one.code)) << one.what << " cut at " << cut;
    }
    EXPECT_EQ(decode(kServer, {one.bytes}).back(), error(one.code)) << one.what;
  }
}

TEST(WsDecoderTest, ChecksUtf8AcrossFragmentsAndFailsBeforeTheMessageEnds) {
  expect_events(kServer, frame(WsOpcode::Text, "\xce", false) + frame(WsOpcode::Continuation, "\xba"), {message("\xce\xba")});
  EXPECT_EQ(decode(kServer, {frame(WsOpcode::Text, "\xf4\x90", false)}), (std::vector{error(1007)}));
  const std::string half = frame(WsOpcode::Text, std::string("\xff") + std::string(100, 'x')).substr(0, 8);
  EXPECT_EQ(decode(kServer, {half}), (std::vector{error(1007)})) << "inside a frame, too";
  EXPECT_EQ(decode(kServer, {frame(WsOpcode::Binary, "\xff")}), (std::vector{message("\xff", MessageKind::Binary)}));
}

TEST(WsDecoderTest, AcceptsExactlyTheCloseCodesThatMayBeSent) {
  for (int code = 0; code <= 65535; ++code) {
    const std::string payload{static_cast<char>(code >> 8), static_cast<char>(code & 0xff)};
    const bool valid = (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
    const auto seen = decode(kServer, {frame(WsOpcode::Close, payload)});
    ASSERT_EQ(seen.size(), 1U);
    ASSERT_EQ(seen[0].type, valid ? Type::Close : Type::Error) << code;
    ASSERT_EQ(seen[0].code, valid ? code : 1002);
  }
  EXPECT_EQ(decode(kServer, {frame(WsOpcode::Close, "")}), (std::vector{Seen{Type::Close, MessageKind::Text, "", 1005}}));
  EXPECT_EQ(decode(kServer, {frame(WsOpcode::Close,
                                   "\x03\xe8"
                                   "bye")}),
            (std::vector{Seen{Type::Close, MessageKind::Text, "bye", 1000}}));
}

TEST(WsDecoderTest, RefusesOverTheMessageLimitFromTheHeaderAlone) {
  const WsLimits limits{.max_message_bytes = 100};
  EXPECT_EQ(decode(limits, {frame(WsOpcode::Text, std::string(100, 'x'))}), (std::vector{message(std::string(100, 'x'))}));
  EXPECT_EQ(decode(limits, {frame(WsOpcode::Text, std::string(101, 'x')).substr(0, 2)}), (std::vector{error(1009)}));
  EXPECT_EQ(decode(limits, {frame(WsOpcode::Text, std::string(60, 'x'), false) + frame(WsOpcode::Continuation, std::string(41, 'x'))}),
            (std::vector{error(1009)}));
}

TEST(WsDecoderTest, RefusesOverTheFragmentLimit) {
  const WsLimits limits{.max_fragments = 3};
  const std::string three = frame(WsOpcode::Text, "", false) + frame(WsOpcode::Continuation, "", false);
  EXPECT_EQ(decode(limits, {three + frame(WsOpcode::Continuation, "")}), (std::vector{message("")}));
  EXPECT_EQ(decode(limits, {three + frame(WsOpcode::Continuation, "", false) + frame(WsOpcode::Continuation, "")}),
            (std::vector{error(1009)}));
}

TEST(WsDecoderTest, MemoryGrowsWithWhatCameNotWithWhatWasPromised) {
  const WsLimits limits{.max_message_bytes = 1 << 30};
  std::string header("\x82\xff\x00\x00\x00\x00\x30\x00\x00\x00\x01\x02\x03\x04", 14);
  WsDecoder decoder;
  MutableBytes input{header.data(), header.size()};
  EXPECT_EQ(decoder.next(limits, input).type, Type::NeedMore);
  EXPECT_LT(decoder.pinned_bytes(), 2048U);
}

TEST(WsDecoderTest, AClientTakesUnmaskedFramesAndRefusesMaskedOnes) {
  const WsLimits client{.role = WsRole::Client};
  EXPECT_EQ(decode(client, {frame(WsOpcode::Text, "x", true, false)}), (std::vector{message("x")}));
  EXPECT_EQ(decode(client, {frame(WsOpcode::Text, "x")}), (std::vector{error(1002)}));
}

TEST(WsDecoderTest, RandomStreamsGiveTheSameHoweverTheyAreCut) {
  std::mt19937 random(3);
  for (int round = 0; round < 300; ++round) {
    std::string bytes;
    for (int i = 0; i < 6; ++i) {
      const bool fin = random() % 3 != 0;
      const WsOpcode opcodes[] = {WsOpcode::Text, WsOpcode::Binary, WsOpcode::Continuation, WsOpcode::Ping, WsOpcode::Pong};
      const WsOpcode opcode = opcodes[random() % 5];
      bytes += frame(opcode, std::string(random() % 200, 'a'), fin || static_cast<int>(opcode) >= 8);
    }
    const auto expected = decode(kServer, {bytes});
    std::vector<std::string> pieces;
    for (std::size_t at = 0; at < bytes.size();) {
      const std::size_t count = 1 + random() % 40;
      pieces.push_back(bytes.substr(at, count));
      at += count;
    }
    ASSERT_EQ(decode(kServer, pieces), expected);
  }
}

TEST(WsFrameTest, MaskingIsItsOwnInverseAtEveryPhaseAndLength) {
  for (std::size_t size = 0; size < 40; ++size) {
    for (std::size_t phase = 0; phase < 5; ++phase) {
      std::string text(size, 'q');
      const unsigned char mask[4] = {1, 2, 3, 4};
      apply_mask(text.data(), size, 0x04030201, phase);
      for (std::size_t i = 0; i < size; ++i) ASSERT_EQ(text[i], static_cast<char>('q' ^ mask[(i + phase) % 4]));
    }
  }
}

TEST(WsFrameTest, CutsALongCloseReasonBetweenCharacters) {
  std::string out, reason;
  for (int i = 0; i < 60; ++i) reason += "\xe2\x82\xac";
  append_ws_close(out, 1000, reason);
  EXPECT_EQ(out.size(), 2U + 2U + 123U);
  const WsLimits client{.role = WsRole::Client};
  EXPECT_EQ(decode(client, {out})[0].type, Type::Close);
}

}  // namespace
}  // namespace dunlin

#include "wire/encoder.h"

#include <gtest/gtest.h>

#include <string>

#include "base/escape.h"
#include "wire/base64.h"
#include "wire/decoder.h"

namespace dunlin::wire {
namespace {

constexpr Encoding kEncodings[] = {Encoding::Json, Encoding::Protobuf};

// A string with every kind of byte that an encoder must care for.
std::string awkward() {
  std::string text;
  for (char c = 1; c < 0x7f; ++c) text += c;
  return text + std::string(1, '\0') + "\x7f\xc3\xa9\xe2\x80\xa8\xf0\x9f\x90\xa6";
}

TEST(EncoderTest, EveryCharacterComesBack) {
  const std::string text = awkward();
  for (Encoding encoding : kEncodings) {
    std::string out;
    append_push(encoding, out, NoticePush{"n", text, {}});
    if (encoding == Encoding::Json) {
      EXPECT_EQ(out.find('\n'), std::string::npos);
      EXPECT_EQ(out.find('\x1f'), std::string::npos);
    }
    auto decoder = make_server_packet_decoder(encoding);
    decoder->start_copy(out);
    ServerPacket packet;
    ASSERT_TRUE(decoder->next(packet));
    ASSERT_TRUE(std::holds_alternative<Push>(packet.content));
    EXPECT_EQ(std::get<NoticePush>(std::get<Push>(packet.content)).text, text);
  }
}

TEST(EncoderTest, InternalErrorsDoNotTellTheirContext) {
  const ErrorReply reply = error_reply(Error(ErrorCode::Io, "/var/lib/dunlin/log: EIO"));
  EXPECT_EQ(reply.name, "store_unavailable");
  EXPECT_TRUE(reply.temporary);
  EXPECT_EQ(reply.message.find("/var"), std::string::npos);
  EXPECT_EQ(error_reply(Error(ErrorCode::Internal, "secret")).message.find("secret"), std::string::npos);
  EXPECT_EQ(error_reply(Error(ErrorCode::BadRequest, "send.to is missing")).message, "send.to is missing");
  EXPECT_TRUE(is_valid_utf8(error_reply(Error(ErrorCode::BadRequest, "x\xff")).message));
  EXPECT_FALSE(error_reply(Error(ErrorCode::NotFound)).message.empty());
}

TEST(EncoderTest, KickTellsByTheNumberWhetherToComeBack) {
  for (const ErrorInfo& info : error_table()) {
    const KickPush kick = kick_push(info.code);
    EXPECT_EQ(kick.code, static_cast<std::uint32_t>(info.code));
    EXPECT_EQ(kick.name, info.name);
    EXPECT_EQ(kick.reconnect, kick.code < 4400 ? Reconnect::Yes : kick.code < 4500 ? Reconnect::AfterRefresh : Reconnect::Never);
  }
}

TEST(EncoderTest, ItemsAreNeverLargerThanTold) {
  const std::string text = awkward().substr(0, 64);
  const MessageView largest{text, kMaxInteger, text, kMaxInteger, text, "\"body\"", "text/plain", true};
  const MessageView json{text, kMaxInteger, text, kMaxInteger, text, "{\"a\":1}", "application/a+json", true};
  const GapView gap{text, kMaxInteger, kMaxInteger, GapReason::NotVisible};
  for (Encoding encoding : kEncodings) {
    for (const MessageView& message : {largest, json, MessageView{}}) {
      HistoryReply history;
      std::size_t told = kReplyEnvelopeBytes;
      for (int i = 0; i < 50; ++i) {
        history.messages.push_back(message);
        history.gaps.push_back(gap);
        told += encoded_bytes_at_most(encoding, message) + encoded_bytes_at_most(encoding, gap);
      }
      std::string out;
      append_reply(encoding, out, kMaxInteger, history);
      EXPECT_LE(out.size(), told);
      EXPECT_GE(out.size() * 4, encoding == Encoding::Json && !message.from.empty() ? told * 3 : 0);

      SyncReply sync;
      told = kReplyEnvelopeBytes;
      for (int i = 0; i < 50; ++i) {
        sync.conversations.push_back(
            {text, "private", text, kMaxInteger, kMaxInteger, kMaxInteger, kMaxInteger, kMaxInteger, kMaxInteger, message});
        told += encoded_bytes_at_most(encoding, sync.conversations.back());
      }
      out.clear();
      append_reply(encoding, out, kMaxInteger, sync);
      EXPECT_LE(out.size(), told);
    }
  }
}

TEST(EncoderTest, OutputIsAppended) {
  for (Encoding encoding : kEncodings) {
    std::string out = "before";
    append_send_reply(encoding, out, 1, {"c", 1, 1, Durability::Fsync, false});
    append_message_push(encoding, out, {"c", 1, "a", 1, "x", "1", "", false});
    EXPECT_EQ(out.substr(0, 6), "before");
    EXPECT_GT(out.size(), 30U);
  }
}

TEST(Base64Test, GivesBackWhatWentInAndRefusesOtherSpellings) {
  std::string bytes;
  for (int i = 0; i < 300; ++i) {
    std::string text;
    append_base64(text, bytes);
    std::string back;
    ASSERT_TRUE(decode_base64(back, text));
    EXPECT_EQ(back, bytes);
    EXPECT_EQ(text.size(), base64_size(bytes.size()));
    bytes += static_cast<char>(i * 7);
  }
  std::string out = "kept";
  for (const char* text : {"A", "AA", "AAA", "A===", "====", "AA=A", "AB==", "AAB=", "AA==AAAA", "A-A_", "AA\n="}) {
    EXPECT_FALSE(decode_base64(out, text)) << text;
    EXPECT_EQ(out, "kept");
  }
}

TEST(EncodingTest, FirstPayloadTellsTheEncoding) {
  EXPECT_EQ(encoding_of_first_payload("{\"id\":1}"), Encoding::Json);
  EXPECT_EQ(encoding_of_first_payload("{ }"), Encoding::Json);
  EXPECT_EQ(encoding_of_first_payload("{"), Encoding::Json);
  EXPECT_EQ(encoding_of_first_payload("\x08"), Encoding::Protobuf);
  EXPECT_EQ(encoding_of_first_payload("{\x08\x01"), Encoding::Protobuf);  // a packet of 123 bytes
  EXPECT_EQ(encoding_of_first_payload("{\x52\x79"), Encoding::Protobuf);  // the same without id
  EXPECT_EQ(encoding_of_subprotocol("dunlin.v1.protobuf"), Encoding::Protobuf);
  EXPECT_EQ(encoding_of_subprotocol("dunlin.v2.json"), std::nullopt);
}

}  // namespace
}  // namespace dunlin::wire

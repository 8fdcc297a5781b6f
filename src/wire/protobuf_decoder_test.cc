#include "wire/protobuf_decoder.h"

#include <gtest/gtest.h>

#include <string>

#include "dunlin/v1/packets.pb.h"
#include "wire/encoder.h"

namespace dunlin::wire {
namespace {

std::string delimited(const v1::Request& request) {
  const std::string bytes = request.SerializeAsString();
  std::string out;
  std::size_t size = bytes.size();
  for (; size >= 0x80; size >>= 7) out += static_cast<char>(size | 0x80);
  out += static_cast<char>(size);
  return out + bytes;
}

v1::Request a_send() {
  v1::Request request;
  request.set_id(3);
  request.mutable_send()->set_to("bob");
  request.mutable_send()->set_client_msg_id("x");
  request.mutable_send()->set_body("{\"a\":\n1}");
  return request;
}

class ProtobufDecoderTest : public testing::Test {
 protected:
  // "command" or "name: context" of the only packet.
  std::string decode(const v1::Request& request) { return decode(delimited(request)); }
  std::string decode(const std::string& frame) {
    decoder_->start_copy(frame);
    if (!decoder_->next(request_)) return "nothing";
    if (const auto* malformed = std::get_if<MalformedRequest>(&request_.command)) return malformed->error.to_string();
    return std::string(command_name(request_.command));
  }

  std::unique_ptr<Decoder> decoder_ = make_protobuf_decoder({});
  Request request_;
};

TEST_F(ProtobufDecoderTest, JsonBodiesAreCheckedAndPutOnOneLine) {
  v1::Request request = a_send();
  EXPECT_EQ(decode(request), "send");
  EXPECT_EQ(std::get<SendRequest>(request_.command).body, "{\"a\": 1}");
  request.mutable_send()->set_body("{\"a\":1");
  EXPECT_EQ(decode(request), "bad_request: send.body: ends too early");
  EXPECT_EQ(request_.id, std::optional<RequestId>(3));
  request.mutable_send()->set_body("\"\xff\"");
  EXPECT_EQ(decode(request), "bad_request: send.body is not valid UTF-8");
  request.mutable_send()->set_body("1 2");
  EXPECT_EQ(decode(request), "bad_request: send.body: something follows the value");
  request.mutable_send()->clear_body();
  EXPECT_EQ(decode(request), "bad_request: send.body is missing");
}

TEST_F(ProtobufDecoderTest, OtherBodiesAreAnyBytes) {
  v1::Request request = a_send();
  request.mutable_send()->set_content_type("application/octet-stream");
  request.mutable_send()->set_body(std::string("\0\xff\n", 3));
  EXPECT_EQ(decode(request), "send");
  EXPECT_EQ(std::get<SendRequest>(request_.command).body, std::string("\0\xff\n", 3));
}

TEST_F(ProtobufDecoderTest, RulesAreThoseOfJson) {
  v1::Request request = a_send();
  request.mutable_send()->set_conversation("c");
  EXPECT_EQ(decode(request), "bad_request: send.to or send.conversation must be given, and only one of them");
  request = a_send();
  request.mutable_send()->set_durability(v1::DURABILITY_NONE);
  EXPECT_EQ(decode(request), "bad_request: send.durability must be memory, os or fsync");
  request.mutable_send()->set_durability(static_cast<v1::Durability>(77));
  EXPECT_EQ(decode(request), "bad_request: send.durability must be memory, os or fsync");
  request = a_send();
  request.set_id(1ULL << 53);
  EXPECT_EQ(decode(request), "bad_request: id must be an integer from 0 to 9007199254740991");
  v1::Request read;
  read.mutable_read()->set_conversation("c");
  read.mutable_read()->set_seq(~0ULL);
  EXPECT_EQ(decode(read), "bad_request: read.seq must be at most 9007199254740991");
  EXPECT_EQ(decode(v1::Request()), "unknown_command: the packet has no command that this server knows");
  v1::Request ack;
  for (int i = 0; i < 1001; ++i) ack.mutable_ack()->add_positions();
  EXPECT_EQ(decode(ack), "too_large: ack.positions has more than 1000 elements");
}

TEST_F(ProtobufDecoderTest, StringsThatAreNotUtf8AreRefusedWithTheId) {
  v1::Request request = a_send();
  std::string frame = delimited(request);
  frame[frame.find("bob")] = '\xff';
  EXPECT_EQ(decode(frame), "bad_request: packet: not a valid Request (field types, UTF-8 of strings)");
  EXPECT_EQ(request_.id, std::optional<RequestId>(3));
}

TEST_F(ProtobufDecoderTest, BrokenLengthsEndTheFrameAfterTheGoodPackets) {
  const std::string good = delimited(a_send()) + delimited(a_send());
  for (const std::string& tail :
       {std::string("\x05x"), std::string("\x80"), std::string("\xff\xff\xff\xff\xff\x01"), std::string("\xff\xff\xff\xff\x0f")}) {
    decoder_->start_copy(good + tail);
    for (int i = 0; i < 2; ++i) {
      ASSERT_TRUE(decoder_->next(request_));
      EXPECT_TRUE(std::holds_alternative<SendRequest>(request_.command));
    }
    ASSERT_TRUE(decoder_->next(request_));
    EXPECT_TRUE(std::holds_alternative<MalformedRequest>(request_.command));
    EXPECT_FALSE(decoder_->next(request_));
  }
}

TEST_F(ProtobufDecoderTest, ABadPacketDoesNotStopTheNextInTheFrame) {
  const std::string good = delimited(a_send());
  decoder_->start_copy(std::string("\x02\xff\xff", 3) + good);
  ASSERT_TRUE(decoder_->next(request_));
  EXPECT_TRUE(std::holds_alternative<MalformedRequest>(request_.command));
  ASSERT_TRUE(decoder_->next(request_));
  EXPECT_TRUE(std::holds_alternative<SendRequest>(request_.command));
}

}  // namespace
}  // namespace dunlin::wire

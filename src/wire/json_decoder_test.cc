#include "wire/json_decoder.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace dunlin::wire {
namespace {

struct Outcome {
  std::optional<RequestId> id;
  std::string command;
  std::string error;  // "name: context"
};

class JsonDecoderTest : public testing::Test {
 protected:
  std::vector<Outcome> decode(std::string_view frame, const DecoderLimits& limits = {}) {
    JsonDecoder decoder(limits);
    decoder.start_copy(frame);
    std::vector<Outcome> outcomes;
    Request request;
    while (decoder.next(request)) {
      Outcome outcome{request.id, std::string(command_name(request.command)), ""};
      if (const auto* malformed = std::get_if<MalformedRequest>(&request.command)) outcome.error = malformed->error.to_string();
      outcomes.push_back(outcome);
    }
    return outcomes;
  }
  std::string error_of(std::string_view packet, const DecoderLimits& limits = {}) {
    const std::vector<Outcome> outcomes = decode(packet, limits);
    return outcomes.size() == 1 ? outcomes[0].error : std::to_string(outcomes.size()) + " packets";
  }
  // The body of a valid send with this body text.
  std::string body_of(const std::string& body) {
    JsonDecoder decoder({});
    decoder.start_copy(R"({"send":{"to":"b","client_msg_id":"x","body":)" + body + "}}");
    Request request;
    if (!decoder.next(request) || !std::holds_alternative<SendRequest>(request.command)) return "!";
    return std::string(std::get<SendRequest>(request.command).body);
  }
};

TEST_F(JsonDecoderTest, BadPacketsNameTheFieldAndKeepTheirId) {
  const std::string send = R"({"id":3,"send":)";
  const struct {
    std::string packet;
    std::string error;
  } table[] = {
      {R"([1])", "bad_request: a packet must be a JSON object"},
      {R"(hello)", "bad_request: a packet must be a JSON object"},
      {R"({"id":3})", "unknown_command: the packet has no command"},
      {R"({"id":3,"fly":{}})", "unknown_command: unknown command fly"},
      {R"({"id":3,"ping":{},"read":{"conversation":"c","seq":1}})", "bad_request: a packet holds one command, this one has ping and read"},
      {R"({"id":3,"ping":7})", "bad_request: ping must be an object"},
      {R"({"id":3,"ping":[]})", "bad_request: ping must be an object"},
      {R"({"id":3,"ping":null})", "bad_request: ping must be an object"},
      {send + R"({"to":1,"client_msg_id":"x","body":1}})", "bad_request: send.to must be a string"},
      {send + R"({"client_msg_id":"x","body":1}})", "bad_request: send.to or send.conversation must be given, and only one of them"},
      {send + R"({"to":"b","conversation":"c","client_msg_id":"x","body":1}})",
       "bad_request: send.to or send.conversation must be given, and only one of them"},
      {send + R"({"to":"b","body":1}})", "bad_request: send.client_msg_id is missing"},
      {send + R"({"to":"b","client_msg_id":"a\u0000b","body":1}})",
       "bad_request: send.client_msg_id must be 1 to 64 bytes of UTF-8 without control characters"},
      {send + R"({"to":")" + std::string(65, 'b') + R"(","client_msg_id":"x","body":1}})",
       "bad_request: send.to must be 1 to 64 bytes of UTF-8 without control characters"},
      {send + R"({"to":"b","client_msg_id":"x"}})", "bad_request: send.body is missing"},
      {send + R"({"to":"b","client_msg_id":"x","body":1,"durability":"never"}})",
       "bad_request: send.durability must be memory, os or fsync"},
      {send + R"({"to":"b","client_msg_id":"x","body":1,"durability":"none"}})",
       "bad_request: send.durability must be memory, os or fsync"},
      {send + R"({"to":"b","client_msg_id":"x","body":1,"transient":"yes"}})", "bad_request: send.transient must be true or false"},
      {send + R"({"to":"b","client_msg_id":"x","body":1,"body_base64":"AA=="}})",
       "bad_request: send.body and body_base64 exclude each other"},
      {send + R"({"to":"b","client_msg_id":"x","body_base64":"AA=="}})",
       "bad_request: send.content_type must name what body_base64 holds, and not JSON"},
      {send + R"({"to":"b","client_msg_id":"x","body_base64":"AA=","content_type":"a/b"}})",
       "bad_request: send.body_base64 is not base64 with padding"},
      {send + R"({"to":"b","client_msg_id":"x","body":1,"content_type":"text/plain"}})",
       "bad_request: send.body_base64 is the field for a body of this content_type"},
      {send + R"({"to":"b","client_msg_id":"x","body":{"a":tru}}})", "bad_request: body: not a JSON value"},
      {send + R"({"to":"b","client_msg_id":"x","body":[1,]}})", "bad_request: body: not a JSON value"},
      {send + R"({"to":"b","client_msg_id":"x","body":01}})", "bad_request: body: something follows the value"},
      {R"({"id":3,"read":{"conversation":"c","seq":1.5}})", "bad_request: read.seq must be an integer from 0 to 9007199254740991"},
      {R"({"id":3,"read":{"conversation":"c","seq":-1}})", "bad_request: read.seq must be an integer from 0 to 9007199254740991"},
      {R"({"id":3,"read":{"conversation":"c","seq":9007199254740992}})",
       "bad_request: read.seq must be an integer from 0 to 9007199254740991"},
      {R"({"id":3,"read":{"conversation":"c","seq":)" + std::string(400, '9') + "}}",
       "bad_request: read.seq must be an integer from 0 to 9007199254740991"},
      {R"({"id":3,"read":{"conversation":"c","seq":"1"}})", "bad_request: read.seq must be an integer from 0 to 9007199254740991"},
      {R"({"id":3,"read":{"conversation":"c"}})", "bad_request: read.seq must be 1 or more"},
      {R"({"id":3,"read":{"seq":1}})", "bad_request: read.conversation is missing"},
      {R"({"id":3,"ack":{"positions":{}}})", "bad_request: ack.positions must be an array"},
      {R"({"id":3,"ack":{"positions":[1]}})", "bad_request: ack.positions must be an object"},
      {R"({"id":3,"ack":{"positions":[{"conversation":"c","seq":0}]}})", "bad_request: ack.positions.seq must be 1 or more"},
      {R"({"id":3,"connect":{"token":"t"}})", "bad_request: connect.device is missing"},
      {R"({"id":3,"connect":{"token":[],"device":"d"}})", "bad_request: connect.token must be a string"},
      {R"({"id":3,"connect":{"token":"t","device":"d","capabilities":[1]}})",
       "bad_request: connect.capabilities must be an array of strings"},
      {R"({"id":3,"history":{"with":"b","before_seq":1,"after_seq":1}})",
       "bad_request: history.before_seq and history.after_seq exclude each other"},
      {R"({"id":3,"history":{"with":"b","before_seq":0}})", "bad_request: history.before_seq must be 1 or more"},
      {R"({"id":3,"typing":{}})", "bad_request: typing.to or typing.conversation must be given, and only one of them"},
      {R"({"id":3,"ping":{}} x)", "bad_request: packet: not a valid JSON object"},
      {send + R"({"to":"b","client_msg_id":"x","body":"a" : 1}})", "bad_request: body: something follows the value"},
      {R"({"id":3,"ping":{},"x":"a":1})", "bad_request: packet: not a valid JSON object"},
      {R"({"id":3,"ping":{},"x":["a":1]})", "bad_request: packet: not a valid JSON object"},
      {R"({"id":3,"ping":{"x":tru}})", "bad_request: packet: a value is no JSON"},
      {R"({"id":3,"ping":{},"x":"\q"})", "bad_request: packet: a wrong escape in a string"},
      {"{\"id\":3,\"ping\":{},\"x\":\"a\tb\"}", "bad_request: packet: a control character in a string is not escaped"},
      {"{\"id\":3,\"ping\":{},\"x\":\"\xff\"}", "bad_request: packet: not valid UTF-8"},
      {R"({"id":3,"ping":{},"x":")", "bad_request: packet: a string does not end"},
  };
  for (const auto& row : table) {
    const std::vector<Outcome> outcomes = decode(row.packet);
    ASSERT_EQ(outcomes.size(), 1U) << row.packet;
    EXPECT_EQ(outcomes[0].error, row.error) << row.packet;
    if (row.packet[0] == '{') {
      EXPECT_EQ(outcomes[0].id, std::optional<RequestId>(3)) << row.packet;
    }
  }
}

TEST_F(JsonDecoderTest, IdsOutOfRangeOrOfAnotherTypeAreRefused) {
  for (const char* id : {"-1", "1.0", "1e2", "9007199254740992", "\"1\"", "true", "{}", "[]", "99999999999999999999999"}) {
    EXPECT_EQ(error_of(std::string("{\"ping\":{},\"id\":") + id + "}"), "bad_request: id must be an integer from 0 to 9007199254740991")
        << id;
  }
  EXPECT_EQ(error_of(R"({"id":null,"ping":{}})"), "");
  EXPECT_EQ(error_of(R"({"connect":{"token":"t","device":"d"}})"), "bad_request: id is missing: connect is always answered");
}

TEST_F(JsonDecoderTest, IdBehindTheBadFieldIsFoundToo) {
  const auto outcomes = decode(R"({"read":{"seq":"x","more":[1,{"a":2}]},"id":8})");
  ASSERT_EQ(outcomes.size(), 1U);
  EXPECT_EQ(outcomes[0].id, std::optional<RequestId>(8));
  EXPECT_EQ(outcomes[0].error, "bad_request: read.seq must be an integer from 0 to 9007199254740991");
}

TEST_F(JsonDecoderTest, ABadPacketDoesNotStopTheNextInTheFrame) {
  const auto outcomes = decode(
      "{\"id\":1,\"ping\":{}}\n{\"id\":2,\"ping\":\n{\"id\":3,\"ping\":{}}\n\xff\n{\"x\n\n  "
      "{\"id\":4,\"fly\":{}}\r\n{\"id\":5,\"ping\":{}} {}\n{\"id\":6,\"ping\":{}}\n");
  ASSERT_EQ(outcomes.size(), 8U);
  const std::vector<std::string> commands = {"ping", "malformed", "ping", "malformed", "malformed", "malformed", "malformed", "ping"};
  for (std::size_t i = 0; i < outcomes.size(); ++i) EXPECT_EQ(outcomes[i].command, commands[i]) << i;
  EXPECT_EQ(outcomes[1].id, std::optional<RequestId>(2));
  EXPECT_EQ(outcomes[2].id, std::optional<RequestId>(3));
  EXPECT_EQ(outcomes[7].id, std::optional<RequestId>(6));
}

TEST_F(JsonDecoderTest, APacketOverSeveralLinesIsOnePacket) {
  const auto outcomes = decode("{\n  \"id\": 1,\n  \"ping\": {\n  }\n}\n{\"id\":2,\"ping\":{}}\n{\"id\":3,\n\"ping\":{}}");
  ASSERT_EQ(outcomes.size(), 3U);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(outcomes[i].command, "ping");
    EXPECT_EQ(outcomes[i].id, std::optional<RequestId>(i + 1));
  }
}

TEST_F(JsonDecoderTest, BodiesAreKeptVerbatimButForLineBreaksBetweenTokens) {
  for (const char* body : {"1", "null", "\"x\"", "[ 1,\t2 ]", R"({"b":1,"a":1.50,"b":"\u0041\/"})", "1e999", "-0.0", "\"\xf0\x9f\x90\xa6\"",
                           "{\"body\":{}}"}) {
    EXPECT_EQ(body_of(body), body);
  }
  EXPECT_EQ(body_of("{\n\"a\":\r\n[1,\n2]\n}"), "{ \"a\":  [1, 2] }");
  EXPECT_EQ(body_of(std::string(64, '[') + std::string(64, ']')).size(), 128U);
  EXPECT_EQ(body_of(std::string(65, '[') + std::string(65, ']')), "!");
}

TEST_F(JsonDecoderTest, UnknownFieldsAreIgnoredAndNullIsAbsent) {
  EXPECT_EQ(
      error_of(
          R"({"v":2,"id":1,"send":{"to":"b","conversation":null,"client_msg_id":"x","new":{"deep":[1,2]},"body":1,"abandon":null},"z":[]})"),
      "");
}

TEST_F(JsonDecoderTest, OfFieldsWithOneNameTheFirstCounts) {
  JsonDecoder decoder({});
  decoder.start_copy(R"({"read":{"conversation":"a","seq":1,"conversation":"b","seq":2}})");
  Request request;
  ASSERT_TRUE(decoder.next(request));
  EXPECT_EQ(std::get<ReadRequest>(request.command).conversation, "a");
  EXPECT_EQ(std::get<ReadRequest>(request.command).seq, 1U);
}

TEST_F(JsonDecoderTest, EscapedStringsAndKeysAreUnescaped) {
  JsonDecoder decoder({});
  decoder.start_copy(R"({"i\u0064":4,"\u0072ead":{"conversation":"p\u0035:\"\\\u00e9\ud83d\udc26","s\u0065q":1}})");
  Request request;
  ASSERT_TRUE(decoder.next(request));
  EXPECT_EQ(request.id, std::optional<RequestId>(4));
  EXPECT_EQ(std::get<ReadRequest>(request.command).conversation, "p5:\"\\\xc3\xa9\xf0\x9f\x90\xa6");
}

TEST_F(JsonDecoderTest, PlainStringsPointIntoTheFrame) {
  std::string frame = R"({"send":{"to":"bob","client_msg_id":"x","body":{"text":"hi"}}})" + std::string(kDecoderPadding, 'z');
  JsonDecoder decoder({});
  decoder.start({frame.data(), frame.size() - kDecoderPadding});
  Request request;
  ASSERT_TRUE(decoder.next(request));
  const auto& send = std::get<SendRequest>(request.command);
  for (std::string_view view : {send.target.user, send.client_msg_id, send.body}) {
    EXPECT_GE(view.data(), frame.data());
    EXPECT_LT(view.data(), frame.data() + frame.size());
  }
}

TEST_F(JsonDecoderTest, LimitsAreHeld) {
  EXPECT_EQ(error_of(R"({"send":{"to":"b","client_msg_id":"x","body":"12345"}})", {.max_body_bytes = 6}),
            "too_large: send.body has 7 bytes, at most 6");
  EXPECT_EQ(error_of(R"({"send":{"to":"b","client_msg_id":"x","body":[[1]]}})", {.max_body_depth = 1}),
            "bad_request: body: nested too deeply (max_body_depth)");
  EXPECT_EQ(error_of(R"({"ack":{"positions":[{"conversation":"c","seq":1},{"conversation":"d","seq":1}]}})", {.max_positions = 1}),
            "too_large: ack.positions has more than 1 elements");
  EXPECT_EQ(error_of(R"({"id":1,"connect":{"token":"12345","device":"d"}})", {.max_token_bytes = 4}),
            "too_large: connect.token has 5 bytes, at most 4");
  const auto outcomes = decode("{\"ping\":{}}\n{\"ping\":{}}\n{\"ping\":{}}\n{\"ping\":{}}", {.max_packets = 2});
  ASSERT_EQ(outcomes.size(), 3U);
  EXPECT_EQ(outcomes[2].error, "too_large: the frame has too many packets");
}

TEST_F(JsonDecoderTest, NestingOutsideTheBodyIsRefusedBeyond32) {
  const auto nested = [](std::size_t depth) {
    return "{\"id\":1,\"ping\":{},\"x\":" + std::string(depth, '[') + std::string(depth, ']') + "}";
  };
  EXPECT_EQ(error_of(nested(31)), "");
  EXPECT_EQ(error_of(nested(32)), "bad_request: packet: nested too deeply (at most 32 levels)");
  EXPECT_EQ(error_of(nested(500000)), "bad_request: packet: nested too deeply (at most 32 levels)");
}

// S11: what could be more than linear is bounded: the search for the end of a packet is given up after its first failure in a
// frame, values are counted, depth is limited. 1 MB of each takes about 1-4 ms in a release build; the clock is not asserted.
TEST_F(JsonDecoderTest, AMegabyteOfTheWorstKindsEndsWithoutRepeatedScans) {
  const std::size_t size = 1U << 20;
  const auto repeat = [size](std::string_view piece) {
    std::string text;
    while (text.size() < size) text += piece;
    return text;
  };
  const DecoderLimits limits{.max_packets = 1U << 30};
  EXPECT_GT(decode(repeat("{\n"), limits).size(), 500000U);
  EXPECT_GT(decode(repeat("{\"a\":\"\n"), limits).size(), 100000U);
  EXPECT_EQ(decode(repeat("{\n")).size(), 1025U);
  EXPECT_EQ(error_of("{\"x\":[" + repeat("1,") + "1]}"), "too_large: packet: too many values");
  EXPECT_EQ(error_of(repeat("{\"a\":")), "bad_request: packet: not a valid JSON object");
}

TEST_F(JsonDecoderTest, EmptyFramesAndBlankLinesHoldNothing) {
  EXPECT_TRUE(decode("").empty());
  EXPECT_TRUE(decode("\n \r\n\t\n").empty());
}

}  // namespace
}  // namespace dunlin::wire

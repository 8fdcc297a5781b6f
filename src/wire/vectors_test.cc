#include <gtest/gtest.h>
#include <simdjson.h>

#include <string>
#include <vector>

#include "wire/decoder.h"
#include "wire/encoder.h"

// tests/vectors/ is what other implementations test against: text and bytes must be ours exactly, both ways. The bytes were made by
// Python's Protobuf (tests/vectors/generate.py), so that a mistake shared by our encoder and decoder shows.
namespace dunlin::wire {
namespace {

struct Vector {
  std::string name;
  std::string json;
  std::string protobuf;
};

std::string from_hex(std::string_view hex) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) bytes += static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16));
  return bytes;
}

std::vector<Vector> load(const std::string& file) {
  simdjson::dom::parser parser;
  std::vector<Vector> vectors;
  for (simdjson::dom::element item : parser.load(std::string(DUNLIN_SOURCE_DIR) + "/tests/vectors/" + file).get_array()) {
    const auto text = [&item](const char* key) { return std::string(std::string_view(item[key])); };
    vectors.push_back({text("name"), text("json"), from_hex(text("protobuf"))});
  }
  return vectors;
}

const std::string& bytes_of(const Vector& vector, Encoding encoding) {
  return encoding == Encoding::Json ? vector.json : vector.protobuf;
}

std::string encode(Encoding encoding, const Request& request) {
  std::string out;
  append_request(encoding, out, request);
  return out;
}

std::string encode(Encoding encoding, const ServerPacket& packet) {
  std::string out;
  if (const auto* reply = std::get_if<Reply>(&packet.content)) append_reply(encoding, out, reply->id, reply->body);
  if (const auto* push = std::get_if<Push>(&packet.content)) append_push(encoding, out, *push);
  return out;
}

constexpr Encoding kEncodings[] = {Encoding::Json, Encoding::Protobuf};

TEST(VectorsTest, RequestsInBothEncodingsGiveEachOther) {
  const std::vector<Vector> vectors = load("requests.json");
  ASSERT_GE(vectors.size(), 20U);
  for (Encoding from : kEncodings) {
    auto decoder = make_decoder(from);
    for (const Vector& vector : vectors) {
      SCOPED_TRACE(vector.name + " from " + std::string(encoding_name(from)));
      decoder->start_copy(bytes_of(vector, from));
      Request request;
      ASSERT_TRUE(decoder->next(request));
      if (const auto* malformed = std::get_if<MalformedRequest>(&request.command)) FAIL() << malformed->error.to_string();
      for (Encoding to : kEncodings) {
        // A body's content type "application/json" and its absence are the same.
        EXPECT_EQ(encode(to, request), bytes_of(vector, to)) << encoding_name(to);
      }
      EXPECT_FALSE(decoder->next(request));
    }
  }
}

void check_server_vectors(const std::string& file) {
  const std::vector<Vector> vectors = load(file);
  ASSERT_GE(vectors.size(), 15U);
  for (Encoding from : kEncodings) {
    auto decoder = make_server_packet_decoder(from);
    for (const Vector& vector : vectors) {
      SCOPED_TRACE(vector.name + " from " + std::string(encoding_name(from)));
      decoder->start_copy(bytes_of(vector, from));
      ServerPacket packet;
      ASSERT_TRUE(decoder->next(packet));
      if (const auto* unknown = std::get_if<UnknownPacket>(&packet.content)) FAIL() << unknown->error.to_string();
      for (Encoding to : kEncodings) EXPECT_EQ(encode(to, packet), bytes_of(vector, to)) << encoding_name(to);
      EXPECT_FALSE(decoder->next(packet));
    }
  }
}

TEST(VectorsTest, RepliesInBothEncodingsGiveEachOther) {
  check_server_vectors("replies.json");
}

TEST(VectorsTest, PushesInBothEncodingsGiveEachOther) {
  check_server_vectors("pushes.json");
}

TEST(VectorsTest, HotEncodersGiveTheSameBytes) {
  auto decoder = make_server_packet_decoder(Encoding::Protobuf);
  int seen = 0;
  for (const char* file : {"replies.json", "pushes.json"}) {
    for (const Vector& vector : load(file)) {
      decoder->start_copy(vector.protobuf);
      ServerPacket packet;
      ASSERT_TRUE(decoder->next(packet));
      for (Encoding encoding : kEncodings) {
        std::string out;
        if (const auto* reply = std::get_if<Reply>(&packet.content); reply != nullptr && std::holds_alternative<SendReply>(reply->body)) {
          append_send_reply(encoding, out, *reply->id, std::get<SendReply>(reply->body));
        } else if (const auto* push = std::get_if<Push>(&packet.content); push != nullptr && std::holds_alternative<MessagePush>(*push)) {
          append_message_push(encoding, out, std::get<MessagePush>(*push).message);
        } else {
          continue;
        }
        ++seen;
        EXPECT_EQ(out, bytes_of(vector, encoding)) << vector.name;
      }
    }
  }
  EXPECT_EQ(seen, 14);
}

TEST(VectorsTest, AllRequestsInOneFrameGiveAllOfThem) {
  for (Encoding encoding : kEncodings) {
    const std::vector<Vector> vectors = load("requests.json");
    std::string frame;
    for (const Vector& vector : vectors) {
      if (!frame.empty()) frame += packet_separator(encoding);
      frame += bytes_of(vector, encoding);
    }
    auto decoder = make_decoder(encoding);
    decoder->start_copy(frame);
    Request request;
    for (const Vector& vector : vectors) {
      ASSERT_TRUE(decoder->next(request)) << vector.name;
      EXPECT_EQ(encode(encoding, request), bytes_of(vector, encoding));
    }
    EXPECT_FALSE(decoder->next(request));
  }
}

TEST(VectorsTest, EveryPrefixOfARequestIsRefusedWithoutHarm) {
  for (Encoding encoding : kEncodings) {
    auto decoder = make_decoder(encoding);
    for (const Vector& vector : load("requests.json")) {
      const std::string& bytes = bytes_of(vector, encoding);
      for (std::size_t size = 1; size < bytes.size(); ++size) {
        decoder->start_copy(std::string_view(bytes).substr(0, size));
        Request request;
        ASSERT_TRUE(decoder->next(request));
        EXPECT_TRUE(std::holds_alternative<MalformedRequest>(request.command)) << vector.name << " cut at " << size;
        EXPECT_FALSE(decoder->next(request));
      }
    }
  }
}

}  // namespace
}  // namespace dunlin::wire

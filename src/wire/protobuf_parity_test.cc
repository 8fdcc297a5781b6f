#include <google/protobuf/stubs/logging.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>
#include <simdjson.h>

#include <random>
#include <string>
#include <vector>

#include "dunlin/v1/packets.pb.h"
#include "wire/decoder.h"
#include "wire/encoder.h"
#include "wire/protobuf_writer.h"

// Our reader against libprotobuf: of the vectors, whole and damaged in every way that a random hand finds, both must take the same ones for
// Protobuf, and read the same from them.
namespace dunlin::wire {
namespace {

constexpr int kDamagedFromEach = 2000;

std::string from_hex(std::string_view hex) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) bytes += static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16));
  return bytes;
}

// The packets without the length before them.
std::vector<std::string> vectors(const std::string& file) {
  simdjson::dom::parser parser;
  std::vector<std::string> packets;
  for (simdjson::dom::element item : parser.load(std::string(DUNLIN_SOURCE_DIR) + "/tests/vectors/" + file).get_array()) {
    const std::string bytes = from_hex(std::string_view(item["protobuf"]));
    std::size_t at = 0;
    while (static_cast<unsigned char>(bytes[at]) >= 0x80) ++at;
    packets.push_back(bytes.substr(at + 1));
  }
  return packets;
}

std::string delimited(const std::string& packet) {
  std::string out;
  ProtobufWriter(out).varint(packet.size());
  return out + packet;
}

class Damage {
 public:
  // One to three changes; lengths around it are not mended, so that many end up broken.
  std::string operator()(std::string bytes, const std::vector<std::string>& others) {
    for (int i = pick(3); i >= 0; --i) change(bytes, others);
    return bytes;
  }

 private:
  std::size_t pick(std::size_t below) { return std::uniform_int_distribution<std::size_t>(0, below - 1)(random_); }
  int pick(int below) { return static_cast<int>(pick(static_cast<std::size_t>(below))); }

  void change(std::string& bytes, const std::vector<std::string>& others) {
    const std::size_t at = pick(bytes.size() + 1);
    switch (pick(8)) {
      case 0: bytes.insert(at, 1, static_cast<char>(pick(256))); break;
      case 1: bytes.resize(at); break;
      case 2: bytes += others[pick(others.size())]; break;                  // merged, or another one
      case 3: bytes.insert(0, "\x1b\x0a\x01x\x1c"); break;                  // an unknown group
      case 4: bytes += std::string("\xb0\x3f\xff\xff\xff\xff\x1f"); break;  // an unknown number
      case 5: bytes += static_cast<char>(pick(256)); break;
      default:
        if (at < bytes.size()) bytes[at] = static_cast<char>(pick(256));
    }
  }

  std::mt19937 random_{20260101};  // NOLINT: the same bytes every time
};

bool same(google::protobuf::Message& ours, google::protobuf::Message& theirs) {
  theirs.DiscardUnknownFields();
  return google::protobuf::util::MessageDifferencer::Equals(ours, theirs);
}

class ProtobufParityTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { google::protobuf::SetLogHandler(nullptr); }  // a line for each string that is not UTF-8
};

TEST_F(ProtobufParityTest, RequestsAreReadAsLibprotobufReadsThem) {
  const std::vector<std::string> originals = vectors("requests.json");
  auto decoder = make_decoder(Encoding::Protobuf);
  Damage damage;
  int compared = 0;
  int broken = 0;
  for (int i = 0; i < kDamagedFromEach * static_cast<int>(originals.size()); ++i) {
    const std::string& original = originals[static_cast<std::size_t>(i) % originals.size()];
    const std::string bytes = i < static_cast<int>(originals.size()) ? original : damage(original, originals);
    if (bytes.empty()) continue;
    v1::Request theirs;
    const bool valid = theirs.ParseFromString(bytes);
    decoder->start_copy(delimited(bytes));
    Request request;
    ASSERT_TRUE(decoder->next(request));
    const auto* malformed = std::get_if<MalformedRequest>(&request.command);
    const bool refused = malformed != nullptr && malformed->error.context().starts_with("packet: not a valid Request");
    ASSERT_EQ(valid, !refused) << testing::PrintToString(bytes);
    broken += refused ? 1 : 0;
    if (malformed != nullptr) continue;
    // What our decoder changes on purpose.
    if (theirs.send().content_type() == "application/json") theirs.mutable_send()->clear_content_type();
    if (theirs.send().body().find_first_of("\r\n") != std::string::npos) continue;
    if (theirs.has_typing() && theirs.typing().active()) theirs.mutable_typing()->clear_active();
    std::string again;
    append_request(Encoding::Protobuf, again, request);
    v1::Request ours;
    std::size_t at = 0;
    while (static_cast<unsigned char>(again[at]) >= 0x80) ++at;
    ASSERT_TRUE(ours.ParseFromString(again.substr(at + 1)));
    ASSERT_TRUE(same(ours, theirs)) << ours.DebugString() << theirs.DebugString();
    ++compared;
  }
  EXPECT_GT(compared, 500);
  EXPECT_GT(broken, 500);
}

// Values of enums that nobody knows are told apart by libprotobuf only.
template <class Reply>
void forget_unknown_values(Reply& reply) {
  if (reply.has_connect() && !v1::Durability_IsValid(reply.connect().durability())) reply.mutable_connect()->clear_durability();
  if (reply.has_connect() && !v1::ConnectReply::Resume_IsValid(reply.connect().resume())) reply.mutable_connect()->clear_resume();
  if (reply.has_send() && !v1::Durability_IsValid(reply.send().durability())) reply.mutable_send()->clear_durability();
  for (int i = 0; i < reply.history().gaps_size(); ++i) {
    v1::Gap& gap = *reply.mutable_history()->mutable_gaps(i);
    if (!v1::Gap::Reason_IsValid(gap.reason()) || gap.reason() == 0) gap.set_reason(v1::Gap::REASON_TRUNCATED);
  }
}

void forget_unknown_values(v1::Push& push) {
  if (push.has_gap() && (!v1::Gap::Reason_IsValid(push.gap().reason()) || push.gap().reason() == 0))
    push.mutable_gap()->set_reason(v1::Gap::REASON_TRUNCATED);
  if (push.has_kick() && (!v1::KickPush::Reconnect_IsValid(push.kick().reconnect()) || push.kick().reconnect() == 0))
    push.mutable_kick()->set_reconnect(v1::KickPush::RECONNECT_YES);
}

TEST_F(ProtobufParityTest, ServerPacketsAreReadAsLibprotobufReadsThem) {
  std::vector<std::string> originals = vectors("replies.json");
  for (const std::string& push : vectors("pushes.json")) originals.push_back(push);
  auto decoder = make_server_packet_decoder(Encoding::Protobuf);
  Damage damage;
  int compared = 0;
  int broken = 0;
  for (int i = 0; i < kDamagedFromEach * static_cast<int>(originals.size()); ++i) {
    const std::string& original = originals[static_cast<std::size_t>(i) % originals.size()];
    const std::string bytes = i < static_cast<int>(originals.size()) ? original : damage(original, originals);
    if (bytes.empty()) continue;
    v1::ServerPacket theirs;
    const bool valid = theirs.ParseFromString(bytes);
    decoder->start_copy(delimited(bytes));
    ServerPacket packet;
    ASSERT_TRUE(decoder->next(packet));
    const auto* unknown = std::get_if<UnknownPacket>(&packet.content);
    ASSERT_EQ(valid, unknown == nullptr || unknown->error.code() == ErrorCode::UnknownCommand) << testing::PrintToString(bytes);
    broken += valid ? 0 : 1;
    if (unknown != nullptr) continue;
    std::string again;
    if (const auto* reply = std::get_if<Reply>(&packet.content)) append_reply(Encoding::Protobuf, again, reply->id, reply->body);
    if (const auto* push = std::get_if<Push>(&packet.content)) append_push(Encoding::Protobuf, again, *push);
    if (theirs.has_push()) forget_unknown_values(*theirs.mutable_push());
    if (theirs.has_reply()) forget_unknown_values(*theirs.mutable_reply());
    if (theirs.reply().has_connect()) theirs.mutable_reply()->mutable_connect()->mutable_limits();  // always written
    v1::ServerPacket ours;
    std::size_t at = 0;
    while (static_cast<unsigned char>(again[at]) >= 0x80) ++at;
    ASSERT_TRUE(ours.ParseFromString(again.substr(at + 1)));
    ASSERT_TRUE(same(ours, theirs)) << ours.DebugString() << theirs.DebugString();
    ++compared;
  }
  EXPECT_GT(compared, 500);
  EXPECT_GT(broken, 500);
}

}  // namespace
}  // namespace dunlin::wire

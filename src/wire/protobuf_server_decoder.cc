#include <utility>

#include "wire/alternatives.h"
#include "wire/protobuf_decoder.h"
#include "wire/protobuf_reading.h"

namespace dunlin::wire {
namespace {

// Fields of the envelopes in proto/dunlin/v1/packets.proto.
constexpr std::uint32_t kReply = 1;
constexpr std::uint32_t kPush = 2;
constexpr std::uint32_t kId = 1;  // of Reply

// Replies and pushes from Protobuf, for clients.
class ProtobufServerDecoder final : public ServerPacketDecoder {
 public:
  void start(std::span<char> payload) override { frame_.start(payload); }
  void start_copy(std::string_view payload) override { frame_.start_copy(payload); }

  bool next(ServerPacket& packet) override {
    if (frame_.at_end()) return false;
    const std::optional<std::string_view> bytes = frame_.next();
    if (!bytes || !read_packet(*bytes, packet)) {
      packet.content = UnknownPacket{Error(ErrorCode::BadRequest, "not a valid ServerPacket")};
    } else if (body_ == 0) {
      packet.content = UnknownPacket{Error(ErrorCode::UnknownCommand, "a packet of a newer server")};
    }
    return true;
  }

 private:
  // False: it is broken. Of different contents the last counts; one that comes again is merged with itself.
  bool read_packet(std::string_view bytes, ServerPacket& packet) {
    ProtobufReader in(bytes);
    std::uint32_t content = 0;
    body_ = 0;
    while (in.next()) {
      if (in.tag() == bytes_tag(kReply)) {
        if (std::exchange(content, kReply) != kReply) begin<Reply>(packet);
        read_reply(in, std::get<Reply>(packet.content));
      } else if (in.tag() == bytes_tag(kPush)) {
        if (std::exchange(content, kPush) != kPush) begin<Push>(packet);
        read_push(in, std::get<Push>(packet.content));
      } else {
        in.skip();
      }
    }
    return !in.broken();
  }

  template <class T>
  void begin(ServerPacket& packet) {
    packet.content.emplace<T>();
    body_ = 0;
  }

  void read_reply(ProtobufReader& outer, Reply& reply) {
    ProtobufReader in(outer.bytes());
    while (in.next()) {
      if (in.tag() == number_tag(kId)) {
        reply.id = in.number();
      } else if (!read_body(in, reply.body)) {
        in.skip();
      }
    }
    if (in.broken()) outer.fail();
  }

  void read_push(ProtobufReader& outer, Push& push) {
    ProtobufReader in(outer.bytes());
    while (in.next()) {
      if (!read_body(in, push)) in.skip();
    }
    if (in.broken()) outer.fail();
  }

  template <class Variant>
  bool read_body(ProtobufReader& in, Variant& body) {
    return visit_tagged(body, in.tag(), [&]<class T>() {
      if (body_ != T::kNumber) body.template emplace<T>();
      body_ = T::kNumber;
      read_inside(in, std::get<T>(body));
    });
  }

  ProtobufFrame frame_;
  std::uint32_t body_ = 0;  // the number of the reply or push that the packet has so far
};

}  // namespace

std::unique_ptr<ServerPacketDecoder> make_protobuf_server_decoder() {
  return std::make_unique<ProtobufServerDecoder>();
}

}  // namespace dunlin::wire

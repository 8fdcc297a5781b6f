#include "wire/protobuf_encoder.h"

#include "base/check.h"
#include "wire/protobuf_writing.h"

namespace dunlin::wire {
namespace {

using W = ProtobufWriter;

// Fields of the envelopes in proto/dunlin/v1/packets.proto.
constexpr std::uint32_t kId = 1;  // of Request and Reply
constexpr std::uint32_t kReply = 1;
constexpr std::uint32_t kPush = 2;

// A packet as field `number` of its envelope, behind the id.
template <class T>
class Content {
 public:
  Content(std::optional<RequestId> id, std::uint32_t number, const T& packet)
      : id_(id), number_(number), packet_(packet), packet_bytes_(protobuf_bytes(packet)) {}

  std::size_t bytes() const { return (id_ ? W::present_bytes(kId, *id_) : 0) + W::nested_bytes(number_, packet_bytes_); }
  void write_to(ProtobufWriter& w) const {
    if (id_) w.present(kId, *id_);
    w.nested(number_, packet_bytes_);
    write(w, packet_);
  }

 private:
  std::optional<RequestId> id_;
  std::uint32_t number_;
  const T& packet_;
  std::size_t packet_bytes_;
};

// A ServerPacket, its length before it; `field` is its Reply or its Push.
template <class T>
void append_server_packet(std::string& out, std::uint32_t field, const Content<T>& content) {
  const std::size_t bytes = content.bytes();
  const std::size_t packet = W::nested_bytes(field, bytes);
  ProtobufWriter w(out);
  w.varint(packet);
  w.nested(field, bytes);
  content.write_to(w);
}

template <class T>
void append_reply(std::string& out, std::optional<RequestId> id, const T& body) {
  append_server_packet(out, kReply, Content(id, T::kNumber, body));
}

template <class T>
void append_command(std::string& out, std::optional<RequestId> id, const T& command) {
  const Content content(id, T::kNumber, command);
  ProtobufWriter w(out);
  w.varint(content.bytes());
  content.write_to(w);
}

void append_command(std::string&, std::optional<RequestId>, const MalformedRequest&) {
  CHECK(false);
}

}  // namespace

void append_protobuf_reply(std::string& out, std::optional<RequestId> id, const ReplyBody& reply) {
  std::visit([&](const auto& body) { append_reply(out, id, body); }, reply);
}

void append_protobuf_push(std::string& out, const Push& push) {
  std::visit([&](const auto& body) { append_server_packet(out, kPush, Content(std::nullopt, body.kNumber, body)); }, push);
}

void append_protobuf_request(std::string& out, const Request& request) {
  std::visit([&](const auto& command) { append_command(out, request.id, command); }, request.command);
}

void append_protobuf_message_push(std::string& out, const MessageView& message) {
  out.reserve(out.size() + message.body.size() + message.conversation.size() + message.from.size() + message.client_msg_id.size() + 64);
  append_server_packet(out, kPush, Content(std::nullopt, MessagePush::kNumber, message));
}

void append_protobuf_send_reply(std::string& out, std::optional<RequestId> id, const SendReply& reply) {
  append_reply(out, id, reply);
}

}  // namespace dunlin::wire

#include "wire/encoder.h"

#include "wire/json_encoder.h"
#include "wire/json_writing.h"
#include "wire/protobuf_encoder.h"
#include "wire/protobuf_writer.h"
#include "wire/protobuf_writing.h"

namespace dunlin::wire {
namespace {

// As an element of a list whose field number fits into one byte.
template <class Item>
std::size_t bytes_at_most(Encoding encoding, const Item& item) {
  return encoding == Encoding::Json ? json_bytes_at_most(item) : ProtobufWriter::nested_bytes(1, protobuf_bytes(item));
}

}  // namespace

void append_reply(Encoding encoding, std::string& out, std::optional<RequestId> id, const ReplyBody& reply) {
  encoding == Encoding::Json ? append_json_reply(out, id, reply) : append_protobuf_reply(out, id, reply);
}

void append_push(Encoding encoding, std::string& out, const Push& push) {
  encoding == Encoding::Json ? append_json_push(out, push) : append_protobuf_push(out, push);
}

void append_request(Encoding encoding, std::string& out, const Request& request) {
  encoding == Encoding::Json ? append_json_request(out, request) : append_protobuf_request(out, request);
}

void append_message_push(Encoding encoding, std::string& out, const MessageView& message) {
  encoding == Encoding::Json ? append_json_message_push(out, message) : append_protobuf_message_push(out, message);
}

void append_send_reply(Encoding encoding, std::string& out, RequestId id, const SendReply& reply) {
  encoding == Encoding::Json ? append_json_send_reply(out, id, reply) : append_protobuf_send_reply(out, id, reply);
}

void append_error_reply(Encoding encoding, std::string& out, std::optional<RequestId> id, const Error& error,
                        std::uint64_t retry_after_ms) {
  append_reply(encoding, out, id, error_reply(error, retry_after_ms));
}

std::size_t encoded_bytes_at_most(Encoding encoding, const MessageView& message) {
  return bytes_at_most(encoding, message);
}

std::size_t encoded_bytes_at_most(Encoding encoding, const GapView& gap) {
  return bytes_at_most(encoding, gap);
}

std::size_t encoded_bytes_at_most(Encoding encoding, const ConversationView& conversation) {
  return bytes_at_most(encoding, conversation);
}

}  // namespace dunlin::wire

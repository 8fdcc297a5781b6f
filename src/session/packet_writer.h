#pragma once

#include <array>
#include <optional>
#include <string>

#include "base/shared_bytes.h"
#include "messaging/model/message.h"
#include "messaging/ports/timelines.h"
#include "metrics/server_metrics.h"
#include "net/connection.h"
#include "wire/encoder.h"

namespace dunlin {

// Encodes packets for the connections of one worker. Small packets are copied into the write queue from one reused buffer; a message with
// several recipients is encoded once for each encoding, and when it is large also framed once, its bytes shared by all of their queues.
// One packet a frame: every client understands that.
// Worker-bound; owned by its SessionHost. Memory: the buffers, bounded by the largest packet, and one message until forget_message().
class PacketWriter {
 public:
  explicit PacketWriter(ServerMetrics& metrics) : metrics_(metrics) {}

  // Replies and pushes beside messages bypass the bound of the write queue: they are few and small, and reading stops before they pile up.
  void reply(Connection& connection, wire::Encoding encoding, std::optional<wire::RequestId> id, const wire::ReplyBody& body);
  void send_reply(Connection& connection, wire::Encoding encoding, wire::RequestId id, const wire::SendReply& body);
  void error(Connection& connection, wire::Encoding encoding, std::optional<wire::RequestId> id, const Error& error,
             Milliseconds retry_after = Milliseconds(0));
  void push(Connection& connection, wire::Encoding encoding, const wire::Push& push);

  // Bounded by the write queue: AtBound and Closed mean that nothing was queued.
  SendResult message(Connection& connection, wire::Encoding encoding, const MessagePtr& message, bool transient = false);
  SendResult gap(Connection& connection, wire::Encoding encoding, std::string_view conversation, const SeqGap& gap);

  // Lets go of the message that is kept for its next recipient. At the end of a turn.
  void forget_message();

 private:
  // A payload of this size or less is cheaper to copy than to share.
  static constexpr std::size_t kSharedFromBytes = 1024;

  struct EncodedMessage {
    std::string payload;                // empty: not encoded yet
    std::array<SharedBytes, 3> framed;  // by Framing
  };
  std::string& scratch() {
    scratch_.clear();
    return scratch_;
  }
  void remember(const MessagePtr& message, bool transient);

  ServerMetrics& metrics_;
  std::string scratch_;
  MessagePtr message_;
  bool transient_ = false;
  std::array<EncodedMessage, 2> encoded_;  // by Encoding
};

wire::MessageView message_view(const Message& message, bool transient = false);
wire::GapView gap_view(std::string_view conversation, const SeqGap& gap);
MessageKind frame_kind(wire::Encoding encoding);

}  // namespace dunlin

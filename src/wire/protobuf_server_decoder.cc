#include <google/protobuf/arena.h>

#include <algorithm>

#include "dunlin/v1/packets.pb.h"
#include "wire/protobuf_decoder.h"

namespace dunlin::wire {
namespace {

MessageView view(const v1::Message& m) {
  return {m.conversation(), m.seq(), m.from(), m.time_ms(), m.client_msg_id(), m.body(), m.content_type(), m.transient()};
}

GapView view(const v1::Gap& g) {
  const int reason = std::clamp(static_cast<int>(g.reason()), 1, 3);
  return {g.conversation(), g.from_seq(), g.to_seq(), static_cast<GapReason>(reason)};
}

Durability view(v1::Durability durability) {
  return durability < 0 || durability > 4 ? Durability::Unspecified : static_cast<Durability>(durability);
}

ConnectReply view(const v1::ConnectReply& r) {
  const v1::Limits& l = r.limits();
  ConnectReply to{r.session(),
                  r.epoch(),
                  r.user(),
                  r.device(),
                  r.time_ms(),
                  r.heartbeat_interval_ms(),
                  {l.max_packet_bytes(), l.max_body_bytes(), l.max_body_depth(), l.max_positions(), l.max_pending_sends(),
                   l.max_history_limit(), l.max_sync_limit(), l.max_unacked_conversations()},
                  view(r.durability()),
                  static_cast<Resume>(std::clamp(static_cast<int>(r.resume()), 0, 3)),
                  r.reason(),
                  {},
                  {},
                  r.more(),
                  r.sync_token()};
  for (const auto& c : r.changed()) {
    to.changed.push_back({c.conversation(), c.from_seq(), c.head_seq()});
  }
  for (const auto& t : r.truncated()) to.truncated.push_back({t.conversation(), t.from_seq()});
  return to;
}

ConversationView view(const v1::Conversation& c) {
  ConversationView to{c.conversation(),       c.kind(),          c.with(),    c.head_seq(), c.first_seq(), c.read_seq(), c.unread(),
                      c.peer_delivered_seq(), c.peer_read_seq(), std::nullopt};
  if (c.has_last_message()) to.last_message = view(c.last_message());
  return to;
}

SyncReply view(const v1::SyncReply& r) {
  SyncReply to{{}, r.cursor(), r.more(), r.sync_token(), r.reset()};
  for (const auto& c : r.conversations()) to.conversations.push_back(view(c));
  return to;
}

HistoryReply view(const v1::HistoryReply& r) {
  HistoryReply to{{}, {}, r.more()};
  for (const auto& m : r.messages()) to.messages.push_back(view(m));
  for (const auto& g : r.gaps()) to.gaps.push_back(view(g));
  return to;
}

DevicesReply view(const v1::DevicesReply& r) {
  DevicesReply to{{}, r.more()};
  for (const auto& d : r.devices()) to.devices.push_back({d.device(), d.platform(), d.last_seen_ms(), d.connected()});
  return to;
}

bool read(const v1::Reply& r, ReplyBody& to) {
  switch (r.result_case()) {
    case v1::Reply::kError: {
      const v1::Error& e = r.error();
      to = ErrorReply{e.code(), e.name(), e.message(), e.temporary(), e.retry_after_ms()};
      return true;
    }
    case v1::Reply::kConnect: to = view(r.connect()); return true;
    case v1::Reply::kRefresh: to = RefreshReply{r.refresh().expires_ms()}; return true;
    case v1::Reply::kPing: to = PingReply{r.ping().time_ms()}; return true;
    case v1::Reply::kSend: {
      const v1::SendReply& s = r.send();
      to = SendReply{s.conversation(), s.seq(), s.time_ms(), view(s.durability()), s.duplicate()};
      return true;
    }
    case v1::Reply::kAck: to = AckReply{r.ack().sync_token()}; return true;
    case v1::Reply::kRead: to = ReadReply{r.read().read_seq()}; return true;
    case v1::Reply::kSync: to = view(r.sync()); return true;
    case v1::Reply::kHistory: to = view(r.history()); return true;
    case v1::Reply::kTyping: to = TypingReply{}; return true;
    case v1::Reply::kLogout: to = LogoutReply{}; return true;
    case v1::Reply::kDevices: to = view(r.devices()); return true;
    case v1::Reply::kForgetDevice: to = ForgetDeviceReply{}; return true;
    case v1::Reply::RESULT_NOT_SET: return false;
  }
  return false;
}

bool read(const v1::Push& p, Push& to) {
  switch (p.push_case()) {
    case v1::Push::kMessage: to = MessagePush{view(p.message())}; return true;
    case v1::Push::kGap: to = GapPush{view(p.gap())}; return true;
    case v1::Push::kReceipt: {
      const v1::ReceiptPush& r = p.receipt();
      to = ReceiptPush{r.conversation(), r.user(), r.delivered_seq(), r.read_seq()};
      return true;
    }
    case v1::Push::kTyping: to = TypingPush{p.typing().conversation(), p.typing().from(), p.typing().active()}; return true;
    case v1::Push::kNotice: to = NoticePush{p.notice().name(), p.notice().text(), p.notice().device()}; return true;
    case v1::Push::kKick: {
      const int reconnect = std::clamp(static_cast<int>(p.kick().reconnect()), 1, 3);
      to = KickPush{p.kick().code(), p.kick().name(), static_cast<Reconnect>(reconnect)};
      return true;
    }
    case v1::Push::kDrain: to = DrainPush{p.drain().delay_ms(), p.drain().url()}; return true;
    case v1::Push::PUSH_NOT_SET: return false;
  }
  return false;
}

// Replies and pushes from Protobuf, for clients.
class ProtobufServerDecoder final : public ServerPacketDecoder {
 public:
  void start(std::span<char> payload) override { frame_.start(payload); }
  void start_copy(std::string_view payload) override { frame_.start_copy(payload); }

  bool next(ServerPacket& packet) override {
    if (frame_.at_end()) return false;
    arena_.Reset();
    auto* from = google::protobuf::Arena::CreateMessage<v1::ServerPacket>(&arena_);
    const std::optional<std::string_view> bytes = frame_.next();
    if (!bytes || !from->ParseFromArray(bytes->data(), static_cast<int>(bytes->size()))) {
      packet.content = UnknownPacket{Error(ErrorCode::BadRequest, "not a valid ServerPacket")};
    } else if (!read(*from, packet)) {
      packet.content = UnknownPacket{Error(ErrorCode::UnknownCommand, "a packet of a newer server")};
    }
    return true;
  }

 private:
  static bool read(const v1::ServerPacket& from, ServerPacket& packet) {
    if (from.has_push()) return wire::read(from.push(), packet.content.emplace<Push>());
    if (!from.has_reply()) return false;
    Reply& reply = packet.content.emplace<Reply>();
    if (from.reply().has_id()) reply.id = from.reply().id();
    return wire::read(from.reply(), reply.body);
  }

  ProtobufFrame frame_;
  google::protobuf::Arena arena_;
};

}  // namespace

std::unique_ptr<ServerPacketDecoder> make_protobuf_server_decoder() {
  silence_protobuf();
  return std::make_unique<ProtobufServerDecoder>();
}

}  // namespace dunlin::wire

#include "wire/json_server_decoder.h"

#include "wire/base64.h"

namespace dunlin::wire {
namespace {

constexpr std::uint32_t kNoLimit = 1U << 30;

// One read() for each packet, with the names of docs/protocol/. `bytes` owns what base64 gives.
class ServerReader {
 public:
  explicit ServerReader(std::deque<std::string>& bytes) : bytes_(bytes) {}

  void read(const JsonFields& f, MessageView& m) {
    f.read("conversation", m.conversation);
    f.read("seq", m.seq);
    f.read("from", m.from);
    f.read("time_ms", m.time_ms);
    f.read("client_msg_id", m.client_msg_id);
    f.read("content_type", m.content_type);
    f.read("transient", m.transient);
    if (const JsonNode* body = f.find("body")) {
      m.body = body->text;
      return;
    }
    std::string_view text;
    f.read("body_base64", text);
    std::string decoded;
    if (!decode_base64(decoded, text)) return f.fail("body_base64", "is not base64");
    bytes_.push_back(std::move(decoded));
    m.body = bytes_.back();
  }

  void read(const JsonFields& f, GapView& gap) {
    f.read("conversation", gap.conversation);
    f.read("from_seq", gap.from_seq);
    f.read("to_seq", gap.to_seq);
    std::string_view reason;
    f.read("reason", reason);
    for (GapReason each : {GapReason::Truncated, GapReason::Corrupt, GapReason::NotVisible}) {
      if (reason == gap_reason_name(each)) gap.reason = each;
    }
  }

  void read(const JsonFields& f, Limits& l) {
    f.read("max_packet_bytes", l.max_packet_bytes);
    f.read("max_body_bytes", l.max_body_bytes);
    f.read("max_body_depth", l.max_body_depth);
    f.read("max_positions", l.max_positions);
    f.read("max_pending_sends", l.max_pending_sends);
    f.read("max_history_limit", l.max_history_limit);
    f.read("max_sync_limit", l.max_sync_limit);
    f.read("max_unacked_conversations", l.max_unacked_conversations);
  }

  void read(const JsonFields& f, ChangedConversation& c) {
    f.read("conversation", c.conversation);
    f.read("from_seq", c.from_seq);
    f.read("head_seq", c.head_seq);
  }

  void read(const JsonFields& f, TruncatedConversation& t) {
    f.read("conversation", t.conversation);
    f.read("from_seq", t.from_seq);
  }

  void read(const JsonFields& f, ConnectReply& r) {
    f.read("session", r.session);
    f.read("epoch", r.epoch);
    f.read("user", r.user);
    f.read("device", r.device);
    f.read("time_ms", r.time_ms);
    f.read("heartbeat_interval_ms", r.heartbeat_interval_ms);
    if (const JsonNode* limits = f.find("limits")) read(f.inside(*limits, "limits"), r.limits);
    read_durability(f, r.durability);
    std::string_view resume;
    f.read("resume", resume);
    for (Resume each : {Resume::None, Resume::Complete, Resume::Truncated, Resume::Reset}) {
      if (resume == resume_name(each)) r.resume = each;
    }
    f.read("reason", r.reason);
    read_list(f, "changed", r.changed);
    read_list(f, "truncated", r.truncated);
    f.read("more", r.more);
    f.read("sync_token", r.sync_token);
  }

  void read(const JsonFields& f, RefreshReply& r) { f.read("expires_ms", r.expires_ms); }
  void read(const JsonFields& f, PingReply& r) { f.read("time_ms", r.time_ms); }
  void read(const JsonFields& f, AckReply& r) { f.read("sync_token", r.sync_token); }
  void read(const JsonFields& f, ReadReply& r) { f.read("read_seq", r.read_seq); }
  void read(const JsonFields&, TypingReply&) {}
  void read(const JsonFields&, LogoutReply&) {}

  void read(const JsonFields& f, DeviceView& d) {
    f.read("device", d.device);
    f.read("platform", d.platform);
    f.read("last_seen_ms", d.last_seen_ms);
    f.read("connected", d.connected);
  }

  void read(const JsonFields& f, DevicesReply& r) {
    read_list(f, "devices", r.devices);
    f.read("more", r.more);
  }

  void read(const JsonFields&, ForgetDeviceReply&) {}

  void read(const JsonFields& f, SendReply& r) {
    f.read("conversation", r.conversation);
    f.read("seq", r.seq);
    f.read("time_ms", r.time_ms);
    read_durability(f, r.durability);
    f.read("duplicate", r.duplicate);
  }

  void read(const JsonFields& f, ConversationView& c) {
    f.read("conversation", c.conversation);
    f.read("kind", c.kind);
    f.read("with", c.with);
    f.read("head_seq", c.head_seq);
    f.read("first_seq", c.first_seq);
    f.read("read_seq", c.read_seq);
    f.read("unread", c.unread);
    f.read("peer_delivered_seq", c.peer_delivered_seq);
    f.read("peer_read_seq", c.peer_read_seq);
    if (const JsonNode* last = f.find("last_message")) read(f.inside(*last, "last_message"), c.last_message.emplace());
  }

  void read(const JsonFields& f, SyncReply& r) {
    read_list(f, "conversations", r.conversations);
    f.read("cursor", r.cursor);
    f.read("more", r.more);
    f.read("sync_token", r.sync_token);
    f.read("reset", r.reset);
  }

  void read(const JsonFields& f, HistoryReply& r) {
    read_list(f, "messages", r.messages);
    read_list(f, "gaps", r.gaps);
    f.read("more", r.more);
  }

  void read(const JsonFields& f, ErrorReply& r) {
    f.read("code", r.code);
    f.read("name", r.name);
    std::string_view message;
    f.read("message", message);
    r.message = message;
    f.read("temporary", r.temporary);
    f.read("retry_after_ms", r.retry_after_ms);
  }

  void read(const JsonFields& f, MessagePush& p) { read(f, p.message); }
  void read(const JsonFields& f, GapPush& p) { read(f, p.gap); }

  void read(const JsonFields& f, ReceiptPush& p) {
    f.read("conversation", p.conversation);
    f.read("user", p.user);
    f.read("delivered_seq", p.delivered_seq);
    f.read("read_seq", p.read_seq);
  }

  void read(const JsonFields& f, TypingPush& p) {
    f.read("conversation", p.conversation);
    f.read("from", p.from);
    f.read("active", p.active);
  }

  void read(const JsonFields& f, NoticePush& p) {
    f.read("name", p.name);
    f.read("text", p.text);
    f.read("device", p.device);
  }

  void read(const JsonFields& f, KickPush& p) {
    f.read("code", p.code);
    f.read("name", p.name);
    std::string_view reconnect;
    f.read("reconnect", reconnect);
    for (Reconnect each : {Reconnect::Yes, Reconnect::AfterRefresh, Reconnect::Never}) {
      if (reconnect == reconnect_name(each)) p.reconnect = each;
    }
  }

  void read(const JsonFields& f, DrainPush& p) {
    f.read("delay_ms", p.delay_ms);
    f.read("url", p.url);
  }

 private:
  template <class T>
  void read_list(const JsonFields& f, std::string_view name, std::vector<T>& out) {
    f.each(name, kNoLimit, [&](const JsonNode& node) { read(f.inside(node, name), out.emplace_back()); });
  }

  static void read_durability(const JsonFields& f, Durability& out) {
    std::string_view name;
    f.read("durability", name);
    out = parse_durability(name).value_or(Durability::Unspecified);
  }

  std::deque<std::string>& bytes_;
};

template <class T>
void read_body(ServerReader& reader, const JsonFields& fields, ReplyBody& body) {
  reader.read(fields, body.emplace<T>());
}
template <class T>
void read_push(ServerReader& reader, const JsonFields& fields, Push& push) {
  reader.read(fields, push.emplace<T>());
}

struct ReplyName {
  std::string_view name;
  void (*read)(ServerReader&, const JsonFields&, ReplyBody&);
};
constexpr ReplyName kReplies[] = {
    {"send", read_body<SendReply>},
    {"error", read_body<ErrorReply>},
    {"ping", read_body<PingReply>},
    {"ack", read_body<AckReply>},
    {"read", read_body<ReadReply>},
    {"connect", read_body<ConnectReply>},
    {"sync", read_body<SyncReply>},
    {"history", read_body<HistoryReply>},
    {"refresh", read_body<RefreshReply>},
    {"typing", read_body<TypingReply>},
    {"logout", read_body<LogoutReply>},
    {"devices", read_body<DevicesReply>},
    {"forget_device", read_body<ForgetDeviceReply>},
};
struct PushName {
  std::string_view name;
  void (*read)(ServerReader&, const JsonFields&, Push&);
};
constexpr PushName kPushes[] = {
    {"message", read_push<MessagePush>}, {"receipt", read_push<ReceiptPush>}, {"gap", read_push<GapPush>},
    {"typing", read_push<TypingPush>},   {"notice", read_push<NoticePush>},   {"kick", read_push<KickPush>},
    {"drain", read_push<DrainPush>},
};

}  // namespace

JsonServerDecoder::JsonServerDecoder() : frame_({.max_nodes = 1U << 20, .max_depth = kMaxPacketDepth, .max_body_depth = 64}) {}

bool JsonServerDecoder::next(ServerPacket& packet) {
  if (!frame_.next()) return false;
  bytes_.clear();
  std::optional<Error> error = frame_.error();
  const std::optional<RequestId> id = frame_.id();
  bool known = false;
  const JsonTree& tree = frame_.tree();
  ServerReader reader(bytes_);
  for (const JsonNode* node = error ? nullptr : tree.child(tree.root()); node != nullptr; node = tree.next(*node)) {
    // An error may answer a packet without an id; everything else without one is a push.
    if (id || node->key == "error") {
      for (const ReplyName& each : kReplies) {
        if (each.name == node->key) {
          Reply& reply = packet.content.emplace<Reply>();
          reply.id = id;
          known = true;
          each.read(reader, JsonFields(tree, *node, each.name, error), reply.body);
        }
      }
    } else {
      for (const PushName& each : kPushes) {
        if (each.name == node->key) {
          each.read(reader, JsonFields(tree, *node, each.name, error), packet.content.emplace<Push>());
          known = true;
        }
      }
    }
  }
  if (!known && !error) error = Error(ErrorCode::UnknownCommand, "a packet of a newer server");
  if (error) packet.content = UnknownPacket{*std::move(error)};
  return true;
}

}  // namespace dunlin::wire

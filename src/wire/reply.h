#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/error.h"
#include "wire/request.h"

// What the server answers. Views are borrowed: by an encoder for the time of its call, from a decoder until its next packet.
namespace dunlin::wire {

// One stored message, as it stands in pushes, history and lists.
struct MessageView {
  std::string_view conversation;
  std::uint64_t seq = 0;
  std::string_view from;
  std::uint64_t time_ms = 0;
  std::string_view client_msg_id;
  std::string_view body;          // as in SendRequest
  std::string_view content_type;  // empty: application/json
  bool transient = false;         // seq is 0 then; not acked
};

enum class GapReason : std::uint8_t { Truncated, Corrupt, NotVisible };
std::string_view gap_reason_name(GapReason reason);

// Seqs of a conversation that this user can no longer get, or may not.
struct GapView {
  std::string_view conversation;
  std::uint64_t from_seq = 0;
  std::uint64_t to_seq = 0;
  GapReason reason = GapReason::Truncated;
};

struct Limits {
  std::uint32_t max_packet_bytes = 65536;
  std::uint32_t max_body_bytes = 0;
  std::uint32_t max_body_depth = 0;
  std::uint32_t max_positions = 0;      // of one ack, and of open in connect
  std::uint32_t max_pending_sends = 0;  // beyond it the connection is not read on
  std::uint32_t max_history_limit = 0;
  std::uint32_t max_sync_limit = 0;
  std::uint32_t max_unacked_conversations = 0;  // beyond it nothing of another conversation is pushed
};

enum class Resume : std::uint8_t { None, Complete, Truncated, Reset };  // None is not sent by this version
std::string_view resume_name(Resume resume);

// A conversation of which something is about to come as pushes.
struct ChangedConversation {
  std::string_view conversation;
  std::uint64_t from_seq = 0;  // the first of them
  std::uint64_t head_seq = 0;  // they go this far at least
};

struct TruncatedConversation {
  std::string_view conversation;
  std::uint64_t from_seq = 0;  // the first seq that can still be read
};

struct ConnectReply {
  std::string_view session;
  std::string_view epoch;
  std::string_view user;
  std::string_view device;
  std::uint64_t time_ms = 0;
  std::uint64_t heartbeat_interval_ms = 0;
  Limits limits;
  Durability durability = Durability::Unspecified;  // the level that acks have by default
  Resume resume = Resume::None;
  std::string_view reason;  // of truncated and reset, for people
  std::vector<ChangedConversation> changed;
  std::vector<TruncatedConversation> truncated;
  bool more = false;  // there is, or may be, more than is named here
  std::string_view sync_token;
};

struct RefreshReply {
  std::uint64_t expires_ms = 0;
};

struct PingReply {
  std::uint64_t time_ms = 0;
};

struct SendReply {
  std::string_view conversation;
  std::uint64_t seq = 0;  // 0 for a transient message
  std::uint64_t time_ms = 0;
  Durability durability = Durability::Unspecified;
  bool duplicate = false;
};

struct AckReply {
  std::string_view sync_token;
};

struct ReadReply {
  std::uint64_t read_seq = 0;
};

struct ConversationView {
  std::string_view conversation;
  std::string_view kind = "private";
  std::string_view with;  // the peer of a private conversation
  std::uint64_t head_seq = 0;
  std::uint64_t first_seq = 0;
  std::uint64_t read_seq = 0;
  std::uint64_t unread = 0;
  std::uint64_t peer_delivered_seq = 0;
  std::uint64_t peer_read_seq = 0;
  std::optional<MessageView> last_message;  // nothing when it is no longer readable
};

struct SyncReply {
  std::vector<ConversationView> conversations;
  std::string_view cursor;  // of the next page; empty when more is false
  bool more = false;
  std::string_view sync_token;
  bool reset = false;  // the request's sync_token was of another epoch or too old: this is a full list
};

struct HistoryReply {
  std::vector<MessageView> messages;  // by seq, ascending, whichever way was asked
  std::vector<GapView> gaps;          // what is missing between them
  bool more = false;                  // there is more in the direction asked
};

struct TypingReply {};
struct LogoutReply {};

struct DeviceView {
  std::string_view device;
  std::string_view platform;  // empty: it has not said
  std::uint64_t last_seen_ms = 0;
  bool connected = false;
};

struct DevicesReply {
  std::vector<DeviceView> devices;
  bool more = false;  // there are others, seen longer ago
};

struct ForgetDeviceReply {};

struct ErrorReply {
  std::uint32_t code = 0;
  std::string_view name;
  std::string message;
  bool temporary = false;
  std::uint64_t retry_after_ms = 0;
};

// The error as a client may see it: internal codes lose their context (it names files), others keep it as message.
ErrorReply error_reply(const Error& error, std::uint64_t retry_after_ms = 0);

using ReplyBody = std::variant<ErrorReply, ConnectReply, RefreshReply, PingReply, SendReply, AckReply, ReadReply, SyncReply, HistoryReply,
                               TypingReply, LogoutReply, DevicesReply, ForgetDeviceReply>;

// id is absent only in an error that answers a packet without a readable id.
struct Reply {
  std::optional<RequestId> id;
  ReplyBody body;
};

}  // namespace dunlin::wire

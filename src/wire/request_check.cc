#include "wire/request_check.h"

#include <algorithm>
#include <string>

#include "base/escape.h"
#include "base/ids.h"
#include "wire/json_text.h"

namespace dunlin::wire {
namespace {

using Problem = std::optional<Error>;

constexpr std::size_t kMaxConversationBytes = 255;
constexpr std::size_t kMaxContentTypeBytes = 127;

Problem bad(std::string_view field, std::string_view problem) {
  return Error(ErrorCode::BadRequest, std::string(field) + " " + std::string(problem));
}

Problem check_id(std::string_view field, std::string_view id) {
  if (is_valid_id(id)) return std::nullopt;
  return id.empty() ? bad(field, "is missing") : bad(field, "must be 1 to 64 bytes of UTF-8 without control characters");
}

Problem check_conversation(std::string_view field, std::string_view conversation) {
  if (conversation.empty()) return bad(field, "is missing");
  if (conversation.size() > kMaxConversationBytes) return bad(field, "is longer than any conversation id");
  return std::nullopt;
}

Problem check_seq(std::string_view field, std::uint64_t seq) {
  if (seq == 0) return bad(field, "must be 1 or more");
  if (seq > kMaxInteger) return bad(field, "must be at most 9007199254740991");
  return std::nullopt;
}

Problem check_size(std::string_view field, std::size_t size, std::size_t limit) {
  if (size <= limit) return std::nullopt;
  return Error(ErrorCode::TooLarge, std::string(field) + " has " + std::to_string(size) + " bytes, at most " + std::to_string(limit));
}

// `prefix` ends with a dot; `user_field` is "to" or "with".
Problem check_target(std::string_view prefix, std::string_view user_field, const Target& target) {
  const std::string user = std::string(prefix) + std::string(user_field);
  if (target.user.empty() == target.conversation.empty()) {
    return bad(user, "or " + std::string(prefix) + "conversation must be given, and only one of them");
  }
  if (!target.user.empty()) return check_id(user, target.user);
  return check_conversation(std::string(prefix) + "conversation", target.conversation);
}

Problem check(MalformedRequest&, const DecoderLimits&) {
  return std::nullopt;
}

// An empty token is not refused here: that is `unauthorized`, which authentication says.
Problem check(ConnectRequest& connect, const DecoderLimits& limits) {
  if (auto problem = check_size("connect.token", connect.token.size(), limits.max_token_bytes)) return problem;
  if (auto problem = check_id("connect.device", connect.device)) return problem;
  if (!connect.platform.empty()) {
    if (auto problem = check_id("connect.platform", connect.platform)) return problem;
  }
  if (auto problem = check_size("connect.sync_token", connect.sync_token.size(), limits.max_token_bytes)) return problem;
  for (std::string_view capability : connect.capabilities) {
    if (auto problem = check_id("connect.capabilities", capability)) return problem;
  }
  for (const ConversationSeq& position : connect.open) {
    if (auto problem = check_conversation("connect.open.conversation", position.conversation)) return problem;
    if (position.seq > kMaxInteger) return bad("connect.open.seq", "must be at most 9007199254740991");
  }
  return std::nullopt;
}

Problem check(RefreshRequest& refresh, const DecoderLimits& limits) {
  return check_size("refresh.token", refresh.token.size(), limits.max_token_bytes);
}

Problem check(PingRequest&, const DecoderLimits&) {
  return std::nullopt;
}

Problem check_content_type(std::string_view content_type) {
  const auto printable = [](char c) { return c >= 0x20 && c < 0x7f; };
  if (content_type.size() <= kMaxContentTypeBytes && std::all_of(content_type.begin(), content_type.end(), printable)) return std::nullopt;
  return bad("send.content_type", "must be at most 127 bytes of printable ASCII");
}

Problem check(SendRequest& send, const DecoderLimits& limits) {
  if (auto problem = check_target("send.", "to", send.target)) return problem;
  if (auto problem = check_id("send.client_msg_id", send.client_msg_id)) return problem;
  if (send.content_type == "application/json") send.content_type = {};
  if (auto problem = check_content_type(send.content_type)) return problem;
  if (send.body.empty()) return bad("send.body", "is missing");
  return check_size("send.body", send.body.size(), limits.max_body_bytes);
}

Problem check(AckRequest& ack, const DecoderLimits&) {
  for (const ConversationSeq& position : ack.positions) {
    if (auto problem = check_conversation("ack.positions.conversation", position.conversation)) return problem;
    if (auto problem = check_seq("ack.positions.seq", position.seq)) return problem;
  }
  return std::nullopt;
}

Problem check(ReadRequest& read, const DecoderLimits&) {
  if (auto problem = check_conversation("read.conversation", read.conversation)) return problem;
  return check_seq("read.seq", read.seq);
}

Problem check(SyncRequest& sync, const DecoderLimits& limits) {
  if (auto problem = check_size("sync.cursor", sync.cursor.size(), limits.max_token_bytes)) return problem;
  if (auto problem = check_size("sync.sync_token", sync.sync_token.size(), limits.max_token_bytes)) return problem;
  if (sync.conversations.empty()) return std::nullopt;
  if (sync.limit != 0 || !sync.cursor.empty() || !sync.sync_token.empty()) {
    return bad("sync.conversations", "stands alone, without limit, cursor and sync_token");
  }
  for (std::string_view conversation : sync.conversations) {
    if (auto problem = check_conversation("sync.conversations", conversation)) return problem;
  }
  return std::nullopt;
}

Problem check(HistoryRequest& history, const DecoderLimits&) {
  if (auto problem = check_target("history.", "with", history.target)) return problem;
  if (history.before_seq && history.after_seq) return bad("history.before_seq", "and history.after_seq exclude each other");
  if (history.before_seq) {
    if (auto problem = check_seq("history.before_seq", *history.before_seq)) return problem;
  }
  if (history.after_seq.value_or(0) > kMaxInteger) return bad("history.after_seq", "must be at most 9007199254740991");
  return std::nullopt;
}

Problem check(TypingRequest& typing, const DecoderLimits&) {
  return check_target("typing.", "to", typing.target);
}

Problem check(LogoutRequest&, const DecoderLimits&) {
  return std::nullopt;
}

Problem check(DevicesRequest&, const DecoderLimits&) {
  return std::nullopt;
}

Problem check(ForgetDeviceRequest& forget, const DecoderLimits&) {
  return check_id("forget_device.device", forget.device);
}

}  // namespace

std::optional<Error> check_request(Request& request, const DecoderLimits& limits) {
  // Without its reply a client would know neither its session nor how the resume went.
  if (std::holds_alternative<ConnectRequest>(request.command) && !request.id) return bad("id", "is missing: connect is always answered");
  return std::visit([&limits](auto& each) { return check(each, limits); }, request.command);
}

}  // namespace dunlin::wire

#include "base/escape.h"
#include "wire/packet.h"

namespace dunlin::wire {

std::optional<Encoding> encoding_of_subprotocol(std::string_view name) {
  if (name == kJsonSubprotocol) return Encoding::Json;
  if (name == kProtobufSubprotocol) return Encoding::Protobuf;
  return std::nullopt;
}

std::string_view subprotocol_name(Encoding encoding) {
  return encoding == Encoding::Json ? kJsonSubprotocol : kProtobufSubprotocol;
}

Encoding encoding_of_first_payload(std::string_view payload) {
  if (payload.empty() || payload[0] != '{') return Encoding::Protobuf;
  if (payload.size() == 1) return Encoding::Json;
  const char second = payload[1];
  const bool json = second == '"' || second == '}' || second == ' ' || second == '\t' || second == '\n' || second == '\r';
  return json ? Encoding::Json : Encoding::Protobuf;
}

std::string_view packet_separator(Encoding encoding) {
  return encoding == Encoding::Json ? "\n" : "";
}

std::string_view encoding_name(Encoding encoding) {
  return encoding == Encoding::Json ? "json" : "protobuf";
}

std::string_view durability_name(Durability durability) {
  switch (durability) {
    case Durability::Unspecified: return "";
    case Durability::None: return "none";
    case Durability::Memory: return "memory";
    case Durability::Os: return "os";
    case Durability::Fsync: return "fsync";
  }
  return "";
}

std::optional<Durability> parse_durability(std::string_view name) {
  for (Durability each : {Durability::Fsync, Durability::Os, Durability::Memory, Durability::None}) {
    if (name == durability_name(each)) return each;
  }
  return std::nullopt;
}

std::string_view gap_reason_name(GapReason reason) {
  switch (reason) {
    case GapReason::Truncated: return "truncated";
    case GapReason::Corrupt: return "corrupt";
    case GapReason::NotVisible: return "not_visible";
  }
  return "";
}

std::string_view resume_name(Resume resume) {
  switch (resume) {
    case Resume::None: return "none";
    case Resume::Complete: return "complete";
    case Resume::Truncated: return "truncated";
    case Resume::Reset: return "reset";
  }
  return "";
}

std::string_view reconnect_name(Reconnect reconnect) {
  switch (reconnect) {
    case Reconnect::Yes: return "yes";
    case Reconnect::AfterRefresh: return "after_refresh";
    case Reconnect::Never: return "never";
  }
  return "";
}

Reconnect reconnect_of(ErrorCode code) {
  const auto number = static_cast<unsigned>(wire_code(code));
  if (number < 4400) return Reconnect::Yes;
  return number < 4500 ? Reconnect::AfterRefresh : Reconnect::Never;
}

KickPush kick_push(ErrorCode code) {
  const ErrorInfo& info = error_info(wire_code(code));
  return {static_cast<std::uint32_t>(info.code), info.name, reconnect_of(code)};
}

ErrorReply error_reply(const Error& error, std::uint64_t retry_after_ms) {
  const ErrorCode visible = wire_code(error.code());
  const ErrorInfo& info = error_info(visible);
  const bool tells = visible == error.code() && visible != ErrorCode::Internal && !error.context().empty();
  std::string message(tells ? std::string_view(error.context()) : info.text);
  if (!is_valid_utf8(message)) {
    for (char& c : message) c = static_cast<unsigned char>(c) < 0x80 ? c : '?';
  }
  return {static_cast<std::uint32_t>(visible), info.name, std::move(message), info.temporary, retry_after_ms};
}

std::string_view command_name(const Command& command) {
  static constexpr std::string_view names[] = {"malformed", "connect", "refresh", "ping",   "send",    "ack",          "read",
                                               "sync",      "history", "typing",  "logout", "devices", "forget_device"};
  static_assert(std::size(names) == std::variant_size_v<Command>);
  return names[command.index()];
}

std::string_view push_name(const Push& push) {
  static constexpr std::string_view names[] = {"message", "gap", "receipt", "typing", "notice", "kick", "drain"};
  static_assert(std::size(names) == std::variant_size_v<Push>);
  return names[push.index()];
}

}  // namespace dunlin::wire

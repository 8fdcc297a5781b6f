#include "wire/packet.h"

#include "base/escape.h"

namespace dunlin::wire {

std::string_view command_name(const Command& command) {
  return std::visit([](const auto& each) { return each.kName; }, command);
}

std::string_view reply_name(const ReplyBody& reply) {
  return std::visit([](const auto& each) { return each.kName; }, reply);
}

std::string_view push_name(const Push& push) {
  return std::visit([](const auto& each) { return each.kName; }, push);
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

}  // namespace dunlin::wire

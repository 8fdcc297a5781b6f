#pragma once

#include <cstdint>

#include "wire/commands.h"

namespace dunlin {

// Who may call a command, and how.
struct CommandRule {
  enum class Caller : std::uint8_t {
    NewConnection,  // before the session exists; only then
    Session,        // an authenticated session; what it may reach is decided by authorise()
  };
  enum class Work : std::uint8_t {
    Direct,   // answered in the same turn
    Waiting,  // a coroutine; counts against max_pending_queries, beyond which the connection is not read on
  };
  Caller caller;
  Work work;
};

// The table. It has no default: a command without a row does not compile (SessionHost::dispatch asks for the row of each alternative).
template <class Command>
struct RuleOf;

template <>
struct RuleOf<wire::ConnectRequest> {
  static constexpr CommandRule rule{CommandRule::Caller::NewConnection, CommandRule::Work::Direct};
};
template <>
struct RuleOf<wire::RefreshRequest> {
  static constexpr CommandRule rule{CommandRule::Caller::Session, CommandRule::Work::Direct};
};
template <>
struct RuleOf<wire::PingRequest> {
  static constexpr CommandRule rule{CommandRule::Caller::Session, CommandRule::Work::Direct};
};
template <>
struct RuleOf<wire::SendRequest> {
  static constexpr CommandRule rule{CommandRule::Caller::Session, CommandRule::Work::Direct};
};
template <>
struct RuleOf<wire::AckRequest> {
  static constexpr CommandRule rule{CommandRule::Caller::Session, CommandRule::Work::Direct};
};
template <>
struct RuleOf<wire::ReadRequest> {
  static constexpr CommandRule rule{CommandRule::Caller::Session, CommandRule::Work::Waiting};
};
template <>
struct RuleOf<wire::SyncRequest> {
  static constexpr CommandRule rule{CommandRule::Caller::Session, CommandRule::Work::Waiting};
};
template <>
struct RuleOf<wire::HistoryRequest> {
  static constexpr CommandRule rule{CommandRule::Caller::Session, CommandRule::Work::Waiting};
};
template <>
struct RuleOf<wire::TypingRequest> {
  static constexpr CommandRule rule{CommandRule::Caller::Session, CommandRule::Work::Direct};
};
template <>
struct RuleOf<wire::DevicesRequest> {
  static constexpr CommandRule rule{CommandRule::Caller::Session, CommandRule::Work::Waiting};
};
template <>
struct RuleOf<wire::ForgetDeviceRequest> {
  static constexpr CommandRule rule{CommandRule::Caller::Session, CommandRule::Work::Waiting};
};
template <>
struct RuleOf<wire::LogoutRequest> {
  static constexpr CommandRule rule{CommandRule::Caller::Session, CommandRule::Work::Direct};
};

}  // namespace dunlin

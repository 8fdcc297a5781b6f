#include <variant>

#include "session/command_rules.h"
#include "session/handlers/handlers.h"
#include "session/session_host.h"

namespace dunlin {

void SessionHost::dispatch(Session& session, wire::Request& request) {
  std::visit([&](const auto& command) { call_handler(session, request.id, command); }, request.command);
}

template <class Command>
void SessionHost::call_handler(Session& session, std::optional<wire::RequestId> id, const Command& command) {
  if constexpr (std::is_same_v<Command, wire::MalformedRequest>) {
    writer_.error(session.connection, session.encoding, id, command.error);
  } else {
    constexpr CommandRule kRule = RuleOf<Command>::rule;
    constexpr bool kFirst = kRule.caller == CommandRule::Caller::NewConnection;
    if (session.phase != (kFirst ? Session::Phase::New : Session::Phase::Ready)) {
      const char* text = kFirst                                        ? "this connection is connected already"
                         : session.phase == Session::Phase::Connecting ? "wait for the reply to connect"
                                                                       : "connect comes first";
      return writer_.error(session.connection, session.encoding, id, Error(ErrorCode::WrongState, text));
    }
    handle(Call{*this, session.connection, session, id}, command);
  }
}

}  // namespace dunlin

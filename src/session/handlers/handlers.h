#pragma once

#include <optional>

#include "net/connection.h"
#include "session/session.h"
#include "session/session_host.h"
#include "wire/packet.h"

// One function a command, one file a function. They run on the session's worker, after the host has checked the command's rule
// (session/command_rules.h). `request` and everything it views are gone when a handler returns: one that waits copies first, keeps
// session.handle, and resolves it again after each wait.
namespace dunlin {

struct Call {
  SessionHost& host;
  Connection& connection;
  Session& session;
  std::optional<wire::RequestId> id;  // nothing: reply only with an error

  void reply(const wire::ReplyBody& body) const {
    if (id) host.writer().reply(connection, session.encoding, id, body);
  }
  void refuse(const Error& error, Milliseconds retry_after = Milliseconds(0)) const {
    host.writer().error(connection, session.encoding, id, error, retry_after);
  }
};

// Who the token speaks for. A refusal is answered here and counted, as a rule against the client's address too.
//  - A token that has expired, or will be good soon, does not count against the address. Else the phones behind one router, all a little
//  late,
//    would shut each other out.
//  - An address with too many refusals hears RateLimited, whatever is wrong with its next token, and signatures that are dear to check are
//    not checked. A good token that is cheap to check is good all the same: it may be another client's behind the same address.
Result<auth::Identity> authenticate(const Call& call, std::string_view token);

void handle(const Call& call, const wire::ConnectRequest& request);
void handle(const Call& call, const wire::RefreshRequest& request);
void handle(const Call& call, const wire::PingRequest& request);
void handle(const Call& call, const wire::SendRequest& request);
void handle(const Call& call, const wire::AckRequest& request);
void handle(const Call& call, const wire::ReadRequest& request);
void handle(const Call& call, const wire::SyncRequest& request);
void handle(const Call& call, const wire::HistoryRequest& request);
void handle(const Call& call, const wire::TypingRequest& request);
void handle(const Call& call, const wire::LogoutRequest& request);
void handle(const Call& call, const wire::DevicesRequest& request);
void handle(const Call& call, const wire::ForgetDeviceRequest& request);

}  // namespace dunlin

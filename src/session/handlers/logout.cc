#include "base/log.h"
#include "runtime/deadline.h"
#include "runtime/spawn.h"
#include "session/handlers/handlers.h"

namespace dunlin {
namespace {

// In the user's turn, which was asked for when he logged out.
Task<Status> forget(SessionHost& host, UserId user, DeviceId device, Completion<DeviceTurns::Turn> asked) {
  const MonotonicTime deadline = host.now() + host.options().devices.patience;
  CO_TRY_ASSIGN(const DeviceTurns::Turn turn, co_await until(deadline, std::move(asked)));
  CO_TRY(co_await CursorFlush::forget_unsaved(host.services(), deadline, user, device));
  co_return co_await host.services().devices.forget_device(std::move(user), std::move(device));
}

Task<void> run(SessionHost& host, ConnectionHandle handle, std::optional<wire::RequestId> id, SessionKey key, UserId user, DeviceId device,
               Completion<DeviceTurns::Turn> turn) {
  const MonotonicTime deadline = host.now() + host.options().devices.patience;
  Status forgotten = co_await Departures::settled(host, key, deadline);
  Session* session = host.find(handle);
  if (session != nullptr && forgotten.ok()) session->in_store = false;
  if (forgotten.ok()) forgotten = co_await forget(host, std::move(user), std::move(device), std::move(turn));
  session = host.find(handle);
  if (session == nullptr) co_return;
  const Call call{host, session->connection, *session, id};
  if (forgotten.ok()) {
    call.reply(wire::LogoutReply{});
  } else {
    call.refuse(forgotten.error());
  }
  host.kick(*session, ErrorCode::LoggedOut);
}

}  // namespace

// In time or not at all: the session's sends settle, the device is forgotten (its next connect is that of a new device), and the connection
// is closed.
void handle(const Call& call, const wire::LogoutRequest&) {
  call.session.phase = Session::Phase::Leaving;
  call.host.pause(call.session);
  call.host.forget_delivery(call.session);  // from here on nothing keeps its cursor
  call.host.sends().flush();
  // Asked for now, so that turns come in this order: a session of the device that connects while the sends settle finds no row any more.
  spawn(run(call.host, call.session.handle(), call.id, call.session.session_key, call.session.user_id, call.session.device,
            call.host.services().device_turns.take(call.session.user_id)));
}

}  // namespace dunlin

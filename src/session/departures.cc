#include "session/departures.h"

#include <utility>

#include "runtime/spawn.h"
#include "session/session_host.h"

namespace dunlin {

void Departures::evict(ConnectionHandle handle, ErrorCode code, Completer<Departure> left) {
  // A refused post destroys the completer, which tells the waiter that nobody is there any more.
  host_.on_worker([this, handle, code, left = std::move(left)]() mutable { evict_here(handle, code, std::move(left)); });
}

void Departures::evict_here(ConnectionHandle handle, ErrorCode code, Completer<Departure> left) {
  Session* session = host_.find(handle);
  if (session == nullptr) {
    // Closed, but its on_close comes only at the end of this turn; or that was called, and its sends settle.
    const bool ends = host_.connections().find_until_closed(handle) != nullptr || waiting_.contains(handle);
    if (!ends) return left.complete(Departure{});
    waiting_[handle].push_back(std::move(left));
    return;
  }
  waiting_[handle].push_back(std::move(left));
  if (session->phase == Session::Phase::Connecting) {
    host_.kick(*session, code);
  } else if (session->phase == Session::Phase::Ready) {
    leave(*session, code);
  } else if (code == ErrorCode::Kicked && !session->attached) {
    host_.kick(*session, code);  // it logs out, and may wait for the turn of who asks
  }
}

void Departures::leave(Session& session, ErrorCode code) {
  session.phase = Session::Phase::Leaving;
  if (!session.in_store) return host_.kick(session, code);
  host_.pause(session);
  host_.sends().flush();
  spawn(finish_leaving(host_, session.handle(), session.session_key, code));
}

Task<void> Departures::finish_leaving(SessionHost& host, ConnectionHandle handle, SessionKey key, ErrorCode code) {
  co_await host.services().timelines.end_session(key);
  Session* session = host.find(handle);
  if (session == nullptr) co_return;
  session->in_store = false;
  host.kick(*session, code);
}

void Departures::on_close(Session& session) {
  std::optional<DeviceCursor> cursor;
  if (session.attached) {
    cursor = host_.cursor_flush().detach(session);
    host_.services().metrics.sessions.sub(1);
  }
  if (session.in_store) {
    waiting_.try_emplace(session.handle());
    host_.sends().flush();
    spawn(settle(host_, session.handle(), session.session_key, session.user_id, std::move(cursor)));
    return;
  }
  if (session.registered) host_.services().registry.remove(session.user_id.view(), session.handle().bits());
  tell(session.handle(), std::move(cursor));
}

// The sends of a session whose connection is gone settle.
Task<void> Departures::settle(SessionHost& host, ConnectionHandle handle, SessionKey key, UserId user, std::optional<DeviceCursor> cursor) {
  co_await host.services().timelines.end_session(key);
  host.services().registry.remove(user.view(), handle.bits());
  host.departures().tell(handle, std::move(cursor));
}

void Departures::tell(ConnectionHandle handle, std::optional<DeviceCursor> cursor) {
  auto waiting = waiting_.extract(handle);
  if (waiting.empty() || waiting.mapped().empty()) return;
  // The newest waiter goes on from here; the others were replaced themselves meanwhile.
  Completer<Departure> newest = std::move(waiting.mapped().back());
  waiting.mapped().pop_back();
  for (Completer<Departure>& replaced : waiting.mapped()) replaced.complete(Departure{});
  newest.complete(Departure{std::move(cursor)});
}

}  // namespace dunlin

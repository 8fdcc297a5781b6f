#include "session/departures.h"

#include <algorithm>
#include <utility>

#include "runtime/deadline.h"
#include "runtime/spawn.h"
#include "session/session_host.h"

namespace dunlin {

Departures::~Departures() {
  host_.worker().timers().cancel(expiry_);
}

void Departures::evict(ConnectionHandle handle, ErrorCode code, MonotonicTime deadline, Completer<Departure> left) {
  // A refused post destroys the completer, which tells the waiter that nobody is there any more.
  host_.on_worker(
      [this, handle, code, waiter = Waiter{std::move(left), deadline}]() mutable { evict_here(handle, code, std::move(waiter)); });
}

void Departures::add(ConnectionHandle handle, Waiter waiter) {
  if (!expiry_.armed()) host_.worker().timers().arm(expiry_, waiter.deadline);
  waiting_[handle].push_back(std::move(waiter));
}

void Departures::expire() {
  constexpr Milliseconds kExpiryPause{250};
  std::vector<Completer<Departure>> late;
  MonotonicTime next = MonotonicTime::max();
  for (auto& [handle, waiters] : waiting_) {
    for (Waiter& waiter : waiters) {
      if (waiter.deadline <= host_.now()) {
        late.push_back(std::move(waiter.left));
      } else {
        next = std::min(next, waiter.deadline);
      }
    }
    std::erase_if(waiters, [](const Waiter& waiter) { return !waiter.left; });
  }
  // Each looks at all that end, and a store that stands still has many: those who wait have deadlines of their own, so this has time.
  if (next != MonotonicTime::max()) host_.worker().timers().arm(expiry_, std::max(next, host_.now() + kExpiryPause));
  for (Completer<Departure>& one : late) one.complete(Error(ErrorCode::Timeout, "the session did not end in time"));
}

void Departures::evict_here(ConnectionHandle handle, ErrorCode code, Waiter waiter) {
  Session* session = host_.find(handle);
  if (session == nullptr) {
    // Closed, but its on_close comes only at the end of this turn; or that was called, and its sends settle.
    const bool ends = host_.connections().find_until_closed(handle) != nullptr || waiting_.contains(handle);
    if (!ends) return waiter.left.complete(Departure{});
    return add(handle, std::move(waiter));
  }
  add(handle, std::move(waiter));
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
  const MonotonicTime deadline = host.now() + host.options().devices.patience;
  const Status in_time = co_await settled(host, key, deadline);
  Session* session = host.find(handle);
  if (session == nullptr) co_return;
  if (in_time.ok()) session->in_store = false;  // else its on_close goes on from here
  host.kick(*session, code);
}

Task<Status> Departures::settled(SessionHost& host, SessionKey key, MonotonicTime deadline) {
  auto [completer, completion] = make_completion<std::monostate>();
  spawn(tell_settled(host, key, std::move(completer)));
  auto done = co_await until(deadline, std::move(completion));
  if (!done.ok() && done.error().code() == ErrorCode::Timeout) co_return std::move(done).error();
  co_return Status();
}

Task<void> Departures::tell_settled(SessionHost& host, SessionKey key, Completer<std::monostate> done) {
  co_await host.services().timelines.end_session(key);
  // The last answers came before this, but the mailbox is emptied behind what a turn resumes: so in the next turn they have gone out.
  // When the worker takes nothing more, the waiter learns it by the end of `done`, and does not wait for that.
  if (!host.worker().post([done = std::move(done)]() mutable { done.complete(std::monostate{}); })) co_return;
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
  Completer<Departure> newest = std::move(waiting.mapped().back().left);
  waiting.mapped().pop_back();
  for (Waiter& replaced : waiting.mapped()) replaced.left.complete(Departure{});
  newest.complete(Departure{std::move(cursor)});
}

std::size_t Departures::waiting() const {
  std::size_t count = 0;
  for (const auto& [handle, waiters] : waiting_) count += waiters.size();
  return count;
}

}  // namespace dunlin

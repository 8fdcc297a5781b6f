// The half of SessionHost in which sessions end.
#include <algorithm>
#include <random>
#include <utility>

#include "codec/ws_frame.h"
#include "runtime/spawn.h"
#include "session/session_host.h"

namespace dunlin {
namespace {

constexpr Milliseconds kDrainTick{100};

metrics::ClientEnd client_end(CloseCause cause) {
  switch (cause) {
    case CloseCause::PeerClose: return metrics::ClientEnd::Closed;
    case CloseCause::BadFrame:
    case CloseCause::BadUtf8: return metrics::ClientEnd::ProtocolError;
    default: return metrics::ClientEnd::Lost;
  }
}

}  // namespace

Milliseconds SessionHost::jittered(Milliseconds delay) {
  thread_local std::minstd_rand random{std::random_device{}()};
  return delay + Milliseconds(std::uniform_int_distribution<Milliseconds::rep>(0, std::max<Milliseconds::rep>(delay.count(), 0))(random));
}

void SessionHost::kick(Session& session, ErrorCode code) {
  session.phase = Session::Phase::Leaving;
  if (!session.connection.open()) return;
  writer_.push(session.connection, session.encoding, wire::kick_push(code));
  session.connection.close(code);
}

void SessionHost::leave(Session& session, ErrorCode code) {
  session.phase = Session::Phase::Leaving;
  if (!session.in_store) return kick(session, code);
  pause(session);
  flush_batch();
  spawn(finish_leaving(*this, session.handle(), session.session_key, code));
}

Task<void> SessionHost::finish_leaving(SessionHost& host, ConnectionHandle handle, SessionKey key, ErrorCode code) {
  co_await host.services_.timelines.end_session(key);
  Session* session = host.find(handle);
  if (session == nullptr) co_return;
  session->in_store = false;
  host.kick(*session, code);
}

// The sends of a session whose connection is gone settle. Until they have, its user still has it, and who wants its place waits.
Task<void> SessionHost::settle_sends(SessionHost& host, ConnectionHandle handle, SessionKey key, UserId user,
                                     std::optional<DeviceCursor> cursor) {
  co_await host.services_.timelines.end_session(key);
  host.services_.registry.remove(user.view(), handle.bits());
  host.tell_departed(handle, std::move(cursor));
}

void SessionHost::tell_departed(ConnectionHandle handle, std::optional<DeviceCursor> cursor) {
  auto waiting = waiting_for_end_.extract(handle);
  if (waiting.empty() || waiting.mapped().empty()) return;
  // The newest waiter goes on from here; the others were replaced themselves meanwhile.
  Completer<Departure> newest = std::move(waiting.mapped().back());
  waiting.mapped().pop_back();
  for (Completer<Departure>& replaced : waiting.mapped()) replaced.complete(Departure{});
  newest.complete(Departure{std::move(cursor)});
}

void SessionHost::evict(ConnectionHandle handle, ErrorCode code, Completer<Departure> left) {
  // A refused post destroys the completer, which tells the waiter that nobody is there any more.
  on_worker([this, handle, code, left = std::move(left)]() mutable { evict_here(handle, code, std::move(left)); });
}

void SessionHost::evict_here(ConnectionHandle handle, ErrorCode code, Completer<Departure> left) {
  Session* session = find(handle);
  if (session == nullptr) {
    // Closed, but its on_close comes only at the end of this turn; or that was called, and its sends settle.
    const bool ends = connections_.find_until_closed(handle) != nullptr || waiting_for_end_.contains(handle);
    if (!ends) return left.complete(Departure{});
    waiting_for_end_[handle].push_back(std::move(left));
    return;
  }
  waiting_for_end_[handle].push_back(std::move(left));
  if (session->phase == Session::Phase::Connecting) {
    kick(*session, code);
  } else if (session->phase == Session::Phase::Ready) {
    leave(*session, code);
  } else if (code == ErrorCode::Kicked && !session->attached) {
    kick(*session, code);  // it logs out, and may wait for the turn of who asks
  }
}

void SessionHost::forget_delivery(Session& session) {
  if (!session.attached) return;
  session.attached = false;
  services_.metrics.sessions.sub(1);
}

void SessionHost::on_close(Connection& connection, const CloseInfo& info) {
  Session& session = static_cast<Session&>(*connection.user());
  session.phase = Session::Phase::Leaving;
  note_end(info);
  if (session.encoding_known) count(session, -1);
  if (session.own_order) send_orders_.end(session.session_key);
  std::optional<DeviceCursor> cursor;
  if (session.attached) {
    detach(session);
    cursor = cursor_of(session);
    services_.metrics.sessions.sub(1);
  }
  if (session.in_store) {
    waiting_for_end_.try_emplace(session.handle());
    flush_batch();
    spawn(settle_sends(*this, session.handle(), session.session_key, session.user_id, std::move(cursor)));
    return;
  }
  if (session.registered) services_.registry.remove(session.user_id.view(), session.handle().bits());
  tell_departed(session.handle(), std::move(cursor));
}

void SessionHost::note_end(const CloseInfo& info) {
  if (info.cause == CloseCause::Local && info.code == kWsUnsupportedData)
    return services_.metrics.disconnects_total.add(metrics::ClientEnd::ProtocolError);
  if (info.cause == CloseCause::Local) return services_.metrics.disconnects_total.add(static_cast<ErrorCode>(info.code));
  if (info.cause == CloseCause::TooLarge) return services_.metrics.disconnects_total.add(ErrorCode::TooLarge);
  if (info.cause == CloseCause::MemoryBound) return services_.metrics.disconnects_total.add(ErrorCode::Overloaded);
  services_.metrics.disconnects_total.add(client_end(info.cause));
}

void SessionHost::drain(std::uint32_t per_second, Milliseconds reconnect_delay) {
  on_worker([this, per_second, reconnect_delay] { drain_here(per_second, reconnect_delay); });
}

void SessionHost::drain_here(std::uint32_t per_second, Milliseconds reconnect_delay) {
  draining_ = true;
  reconnect_delay_ = reconnect_delay;
  const auto ticks_per_second = static_cast<std::uint32_t>(Milliseconds(1000) / kDrainTick);
  drain_per_tick_ = per_second == 0 ? UINT32_MAX : std::max<std::uint32_t>(1, per_second / ticks_per_second);
  to_drain_.clear();
  connections_.for_each_open([this](Connection& connection) { to_drain_.push_back(connection.handle()); });
  drain_some();
  if (!drain_timer_) drain_timer_ = std::make_unique<Every>(worker_, kDrainTick, [this] { drain_some(); });
}

void SessionHost::drain_some() {
  for (std::uint32_t done = 0; done < drain_per_tick_ && !to_drain_.empty(); ++done) {
    Session* session = find(to_drain_.back());
    to_drain_.pop_back();
    if (session != nullptr) say_farewell(*session);
  }
}

void SessionHost::say_farewell(Session& session) {
  if (!session.connection.open()) return;
  writer_.push(session.connection, session.encoding,
               wire::DrainPush{.delay_ms = static_cast<std::uint64_t>(jittered(reconnect_delay_).count()), .url = {}});
  kick(session, ErrorCode::GoingAway);
}

}  // namespace dunlin

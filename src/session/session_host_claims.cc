// The part of SessionHost for positions that are not there: what a client claims and this store never had, and epochs that are over
// (docs/design/delivery.md).
#include <algorithm>
#include <iterator>
#include <utility>

#include "runtime/spawn.h"
#include "session/session_host.h"

namespace dunlin {
namespace {

// Sessions that are closed in one turn after a new epoch has begun.
constexpr std::size_t kCloseSlice = 256;

}  // namespace

void SessionHost::judge(Session& session, std::vector<ClaimedPosition> claimed) {
  std::vector<ClaimedPosition>& waiting = claims_[session.handle()];
  std::ranges::move(claimed, std::back_inserter(waiting));
  if (session.judging) return;
  spawn(judge_claims(*this, session.handle(), session.user_id, session.device));
  if (!claims_.contains(session.handle())) return;  // memory knew: the usual case
  session.judging = true;
  query_began(session);
}

// Goes on when the session has ended: what its device has said stands.
Task<void> SessionHost::judge_claims(SessionHost& host, ConnectionHandle handle, UserId user, DeviceId device) {
  bool unknown = false;
  while (!unknown && !host.claims_[handle].empty()) {
    ClaimedPosition claimed = std::move(host.claims_[handle].back());
    host.claims_[handle].pop_back();
    unknown = co_await beyond_head(host.services_.timelines, std::move(claimed));
  }
  host.claims_.erase(handle);
  if (unknown) host.reset_device(handle, user, device);
  Session* session = host.find(handle);
  if (session == nullptr || !session->judging) co_return;
  session->judging = false;
  host.query_ended(*session);
}

// What cannot be looked up claims nothing.
Task<bool> SessionHost::beyond_head(Timelines& timelines, ClaimedPosition claimed) {
  const auto head = co_await timelines.head(claimed.access.conversation());
  co_return head.ok() && claimed.seq > head->last_seq;
}

void SessionHost::reset_device(ConnectionHandle handle, const UserId& user, const DeviceId& device) {
  // In memory too until it was told: a token of before would win over the row, which is then not even read.
  DeviceCursor nowhere;
  nowhere.last_seen = wall();
  services_.detached.put(user.view(), device.view(), nowhere);
  cursors_.keep({user, device, std::move(nowhere)});
  save_at_end_of_turn_ = true;
  Session* session = find(handle);
  if (session == nullptr) return;
  forget_delivery(*session);
  if (session->ready()) kick(*session, ErrorCode::ResetRequired);
}

void SessionHost::end_epoch() {
  epoch_ = services_.timelines.epoch();
  const bool closing = !to_reset_.empty();
  connections_.for_each_open([this](Connection& connection) {
    Session& session = static_cast<Session&>(*connection.user());
    if (!session.ready() || session.epoch == epoch_) return;
    session.phase = Session::Phase::Leaving;  // nothing of it is heard any more
    to_reset_.push_back(session.handle());
  });
  if (!closing && !worker_.post([this] { close_ended(); })) to_reset_.clear();  // the worker is ending
}

void SessionHost::close_ended() {
  for (std::size_t done = 0; done < kCloseSlice && !to_reset_.empty(); ++done) {
    Session* session = find(to_reset_.back());
    to_reset_.pop_back();
    if (session != nullptr) kick(*session, ErrorCode::ResetRequired);
  }
  if (to_reset_.empty()) return;
  if (!worker_.post([this] { close_ended(); })) to_reset_.clear();
}

}  // namespace dunlin

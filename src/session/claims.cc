#include "session/claims.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "runtime/spawn.h"
#include "session/session_host.h"

namespace dunlin {

void Claims::judge(Session& session, std::vector<ClaimedPosition> claimed) {
  std::vector<ClaimedPosition>& waiting = waiting_[session.handle()];
  std::ranges::move(claimed, std::back_inserter(waiting));
  if (session.judging) return;
  spawn(judge_waiting(host_, session.handle(), session.user_id, session.device));
  if (!waiting_.contains(session.handle())) return;  // memory knew: the usual case
  session.judging = true;
  host_.query_began(session);
}

// Goes on when the session has ended: what its device has said stands.
Task<void> Claims::judge_waiting(SessionHost& host, ConnectionHandle handle, UserId user, DeviceId device) {
  Claims& claims = host.claims();
  bool unknown = false;
  while (!unknown && !claims.waiting_[handle].empty()) {
    ClaimedPosition claimed = std::move(claims.waiting_[handle].back());
    claims.waiting_[handle].pop_back();
    unknown = co_await beyond_head(host.services().timelines, std::move(claimed));
  }
  claims.waiting_.erase(handle);
  if (unknown) claims.reset_device(handle, user, device);
  Session* session = host.find(handle);
  if (session == nullptr || !session->judging) co_return;
  session->judging = false;
  host.query_ended(*session);
}

Task<bool> Claims::beyond_head(Timelines& timelines, ClaimedPosition claimed) {
  const auto head = co_await timelines.head(claimed.access.conversation());
  co_return head.ok() && claimed.seq > head->last_seq;
}

void Claims::reset_device(ConnectionHandle handle, const UserId& user, const DeviceId& device) {
  host_.cursor_flush().put_nowhere(user, device);
  Session* session = host_.find(handle);
  if (session == nullptr) return;
  host_.forget_delivery(*session);
  if (session->ready()) host_.kick(*session, ErrorCode::ResetRequired);
}

}  // namespace dunlin

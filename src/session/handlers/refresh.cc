#include "session/handlers/handlers.h"

namespace dunlin {

// A new token for the same user, so that the session outlives the first one. A bad one changes nothing: the session ends when its
// token expires, or when several were bad.
void handle(const Call& call, const wire::RefreshRequest& request) {
  const auto identity = authenticate(call, request.token);
  if (!identity.ok()) {
    if (++call.session.refused_refreshes >= call.host.options().refused_refreshes)
      call.host.kick(call.session, wire_code(identity.error().code()));
    return;
  }
  if (identity->user != call.session.user_id) {
    call.host.services().metrics.auth_failures_total.add();
    return call.refuse(Error(ErrorCode::Unauthorized, "the token is another user's"));
  }
  call.session.set_token(*identity);
  call.host.arm_timer(call.session);
  const bool for_ever = identity->expires == WallTime::max();
  call.reply(wire::RefreshReply{.expires_ms = for_ever ? wire::kMaxInteger : static_cast<std::uint64_t>(to_ms(identity->expires))});
}

}  // namespace dunlin

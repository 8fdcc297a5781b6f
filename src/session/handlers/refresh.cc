#include "session/handlers/handlers.h"

namespace dunlin {

// A new token for the same user, so that the session outlives the first one. A bad one changes nothing: the session ends when its
// token expires, or when several were bad.
void handle(const Call& call, const wire::RefreshRequest& request) {
  const auto identity = call.host.authenticate(request.token);
  if (!identity.ok()) {
    call.host.services().metrics.auth_failures_total.add();
    if (identity.error().code() != ErrorCode::TokenExpired) call.connection.report_auth_failure();
    call.refuse(identity.error());
    if (++call.session.refused_refreshes >= call.host.options().refused_refreshes)
      call.host.kick(call.session, wire_code(identity.error().code()));
    return;
  }
  if (identity->user != call.session.user_id) return call.refuse(Error(ErrorCode::Unauthorized, "the token is another user's"));
  call.session.token_expires = identity->expires;
  call.host.arm_timer(call.session);
  const bool for_ever = identity->expires == WallTime::max();
  call.reply(wire::RefreshReply{.expires_ms = for_ever ? wire::kMaxInteger : static_cast<std::uint64_t>(to_ms(identity->expires))});
}

}  // namespace dunlin

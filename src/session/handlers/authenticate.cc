#include "session/handlers/handlers.h"

namespace dunlin {

Result<auth::Identity> authenticate(const Call& call, std::string_view token) {
  const Milliseconds failing = call.connection.auth_failing();
  Milliseconds wait = failing;
  auto identity = call.host.authenticate(token, {.cheap_only = failing > Milliseconds(0), .valid_after = &wait});
  if (identity.ok()) return identity;
  call.host.services().metrics.auth_failures_total.add();
  if (identity.error().code() == ErrorCode::TokenExpired) {
    wait = Milliseconds(0);
  } else if (identity.error().code() == ErrorCode::Unauthorized) {
    wait = call.connection.report_auth_failure();
    if (wait > Milliseconds(0)) identity = Error(ErrorCode::RateLimited, "too many tokens of this address were refused, and this one too");
  }
  call.refuse(identity.error(), wait);
  return identity;
}

}  // namespace dunlin

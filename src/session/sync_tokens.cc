// What sessions say and hear in sync_tokens.
#include <algorithm>

#include "session/session_host.h"

namespace dunlin {

std::string SessionHost::mint(const Session& session, Epoch epoch, std::optional<InboxPosition> acked, InboxPosition listed) const {
  const SyncToken token{.epoch = epoch, .position = acked, .listed = listed, .minted = wall(), .run = services_.inboxes.run()};
  return services_.sync_tokens.mint(token, session.user_id.view(), session.device.view());
}

std::string SessionHost::mint_sync_token(Session& session, std::optional<InboxPosition> listed) {
  const std::optional<InboxPosition> acked = session.delivery->token_position();
  if (!acked && !listed) return {};  // nothing is known that could be promised
  return mint(session, session.epoch, acked, listed.value_or(acked.value_or(InboxPosition())));
}

std::string SessionHost::mint_sync_token(const Session& session, const DeviceCursor& cursor) {
  const bool exact = cursor.exceptions.empty();
  return mint(session, cursor.epoch, exact ? std::optional(cursor.position) : std::nullopt, cursor.position);
}

std::optional<SyncToken> SessionHost::parse_sync_token(const Session& session, std::string_view text) const {
  return services_.sync_tokens.parse(text, session.user_id.view(), session.device.view());
}

}  // namespace dunlin

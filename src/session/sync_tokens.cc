#include "session/sync_tokens.h"

#include "session/session_host.h"

namespace dunlin {
namespace {

std::string mint(SessionHost& host, const Session& session, Epoch epoch, std::optional<InboxPosition> acked, InboxPosition listed) {
  const SessionServices& services = host.services();
  const SyncToken token{.epoch = epoch, .position = acked, .listed = listed, .minted = host.wall(), .run = services.inboxes.run()};
  return services.sync_tokens.mint(token, session.user_id.view(), session.device.view());
}

}  // namespace

std::string mint_sync_token(SessionHost& host, Session& session, std::optional<InboxPosition> listed) {
  const std::optional<InboxPosition> acked = session.delivery->token_position();
  if (!acked && !listed) return {};
  return mint(host, session, session.epoch, acked, listed.value_or(acked.value_or(InboxPosition())));
}

std::string mint_sync_token(SessionHost& host, const Session& session, const DeviceCursor& cursor) {
  const bool exact = cursor.exceptions.empty();
  return mint(host, session, cursor.epoch, exact ? std::optional(cursor.position) : std::nullopt, cursor.position);
}

std::optional<SyncToken> parse_sync_token(SessionHost& host, const Session& session, std::string_view text) {
  return host.services().sync_tokens.parse(text, session.user_id.view(), session.device.view());
}

}  // namespace dunlin

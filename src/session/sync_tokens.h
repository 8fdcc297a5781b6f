#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "messaging/delivery/sync_token.h"
#include "messaging/ports/device_states.h"

namespace dunlin {

class SessionHost;
struct Session;

// What sessions say and hear in sync_tokens. Worker-bound; nothing is kept.

// What the device has acked by now, and up to where its conversation list is known. Without `listed`: as far as it has acked. Empty when
// nothing is known that could be promised.
std::string mint_sync_token(SessionHost& host, Session& session, std::optional<InboxPosition> listed);
// Of a device that begins at this cursor.
std::string mint_sync_token(SessionHost& host, const Session& session, const DeviceCursor& cursor);
// Nothing for what was not minted for this user and device.
std::optional<SyncToken> parse_sync_token(SessionHost& host, const Session& session, std::string_view text);

}  // namespace dunlin

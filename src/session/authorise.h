#pragma once

#include <string_view>

#include "base/result.h"
#include "messaging/conversation/conversation_access.h"
#include "wire/envelope.h"

namespace dunlin {

// The same for what a packet names: a conversation, or the user to whom one writes. Anyone may write to any user, also to one who was never
// seen here; BadRequest when it is no user id.
Result<ConversationAccess> authorise(std::string_view user, const wire::Target& target);

}  // namespace dunlin

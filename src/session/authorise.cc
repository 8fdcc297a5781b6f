#include "session/authorise.h"

#include "base/escape.h"
#include "messaging/model/conversation.h"

namespace dunlin {

Result<ConversationAccess> authorise(std::string_view user, const wire::Target& target) {
  if (target.user.empty()) return authorise(user, ConversationId(target.conversation));
  if (!is_valid_id(target.user)) return Error(ErrorCode::BadRequest, "this is not a user id");
  return authorise(user, private_conversation(user, target.user));
}

}  // namespace dunlin

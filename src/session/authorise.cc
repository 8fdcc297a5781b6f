#include "session/authorise.h"

#include "base/escape.h"
#include "messaging/model/conversation.h"

namespace dunlin {

Result<ConversationAccess> authorise(std::string_view user, const wire::Target& target) {
  ConversationId conversation;
  if (!target.user.empty()) {
    if (!is_valid_id(target.user)) return Error(ErrorCode::BadRequest, "this is not a user id");
    conversation = private_conversation(user, target.user);
  } else {
    conversation = ConversationId(target.conversation);
  }
  const auto pair = parse_private(conversation.view());
  if (!pair) return Error(ErrorCode::NotFound, "no such conversation");
  if (!pair->has(user)) return Error(ErrorCode::Forbidden, "not a member of this conversation");
  const std::string_view peer = pair->peer_of(user);
  const auto peer_at = static_cast<std::size_t>(peer.data() - conversation.view().data());
  const std::size_t peer_size = peer.size();
  return ConversationAccess(std::move(conversation), peer_at, peer_size);
}

}  // namespace dunlin

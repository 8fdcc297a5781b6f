#include "messaging/conversation/conversation_access.h"

#include "messaging/model/conversation.h"

namespace dunlin {

Result<ConversationAccess> authorise(std::string_view user, ConversationId conversation) {
  const auto pair = parse_private(conversation.view());
  if (!pair) return Error(ErrorCode::NotFound, "no such conversation");
  if (!pair->has(user)) return Error(ErrorCode::Forbidden, "not a member of this conversation");
  const char* begin = std::string_view(conversation.view()).data();
  const auto part = [&](std::string_view name) {
    return ConversationAccess::Part{static_cast<std::uint16_t>(name.data() - begin), static_cast<std::uint16_t>(name.size())};
  };
  const std::string_view peer = pair->peer_of(user);
  const ConversationAccess::Part of_user = part(user == pair->first ? pair->first : pair->second);
  const ConversationAccess::Part of_peer = part(peer);
  return ConversationAccess(std::move(conversation), of_user, of_peer);
}

}  // namespace dunlin

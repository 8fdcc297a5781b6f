#pragma once

#include <string>
#include <string_view>

#include "base/ids.h"
#include "base/result.h"
#include "wire/envelope.h"

namespace dunlin {

// The proof that a user may read and write a conversation. Only authorise() makes one, and everything in handlers/ that reaches a
// conversation asks for it: so no command can forget the check.
class ConversationAccess {
 public:
  const ConversationId& conversation() const { return conversation_; }
  // The other user of a private conversation; the user himself when it is the one with oneself.
  std::string_view peer() const { return std::string_view(conversation_.view()).substr(peer_at_, peer_size_); }

 private:
  friend Result<ConversationAccess> authorise(std::string_view user, const wire::Target& target);
  ConversationAccess(ConversationId conversation, std::size_t peer_at, std::size_t peer_size)
      : conversation_(std::move(conversation)), peer_at_(peer_at), peer_size_(peer_size) {}

  ConversationId conversation_;
  std::size_t peer_at_;  // the peer stands in the id
  std::size_t peer_size_;
};

// May `user` (the session's, never a packet's) use `target`? Anyone may write to any user. A private conversation belongs to its two users:
// Forbidden for others; NotFound for a string that is no conversation's id.
Result<ConversationAccess> authorise(std::string_view user, const wire::Target& target);

}  // namespace dunlin

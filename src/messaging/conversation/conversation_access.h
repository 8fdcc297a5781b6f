#pragma once

#include <cstdint>
#include <string_view>
#include <utility>

#include "base/ids.h"
#include "base/result.h"

namespace dunlin {

// The proof that a user may read and write a conversation. authorise() alone makes one, and whatever reaches a conversation for a client
// asks for it: so no command can forget the check, and nobody makes it twice. For example: the handler of `history` gets one from the id
// that the client has named, and TimelineAccess takes it instead of a user and an id that might not belong together. It holds for the
// moment: it is made for one command and not kept.
class ConversationAccess {
 public:
  const ConversationId& conversation() const { return conversation_; }
  // Whose proof it is.
  std::string_view user() const { return part(user_); }
  // The other user of a private conversation; the user himself when it is the one with oneself.
  std::string_view peer() const { return part(peer_); }

 private:
  friend Result<ConversationAccess> authorise(std::string_view user, ConversationId conversation);
  // Where a name stands in the id, which moves with it.
  struct Part {
    std::uint16_t at;
    std::uint16_t size;
  };
  ConversationAccess(ConversationId conversation, Part user, Part peer)
      : conversation_(std::move(conversation)), user_(user), peer_(peer) {}
  std::string_view part(Part part) const { return std::string_view(conversation_.view()).substr(part.at, part.size); }

  ConversationId conversation_;
  Part user_;
  Part peer_;
};

// The one rule of private conversations: each belongs to its two users. Whether it exists is never told to others: an id that names other
// users is Forbidden and one that names nobody NotFound, both from its text alone. `user` is the session's, never a packet's.
Result<ConversationAccess> authorise(std::string_view user, ConversationId conversation);

}  // namespace dunlin

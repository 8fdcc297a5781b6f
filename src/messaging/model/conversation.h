#pragma once

#include <optional>
#include <string_view>

#include "base/ids.h"

namespace dunlin {

// The two users of a private conversation, ordered by bytes (first <= second; equal for a conversation with oneself).
// Views into the ConversationId or into the arguments they were made from.
struct PrivatePair {
  std::string_view first;
  std::string_view second;

  bool has(std::string_view user) const { return user == first || user == second; }
  std::string_view peer_of(std::string_view user) const { return user == first ? second : first; }
};

// The id of the private conversation of two valid user ids, the same from both sides: "p<bytes of first>:<first>:<second>".
// Opaque to clients. It names its members, so that authorising a private conversation costs no look-up.
ConversationId private_conversation(std::string_view user, std::string_view peer);

// The users of a private conversation's id; nothing for any string that private_conversation() does not give.
std::optional<PrivatePair> parse_private(std::string_view conversation);

}  // namespace dunlin

#include "messaging/model/conversation.h"

#include <charconv>
#include <string>

#include "base/escape.h"

namespace dunlin {

ConversationId private_conversation(std::string_view user, std::string_view peer) {
  const std::string_view first = user <= peer ? user : peer;
  const std::string_view second = user <= peer ? peer : user;
  std::string id;
  id.reserve(5 + first.size() + second.size());
  id += 'p';
  id += std::to_string(first.size());
  id += ':';
  id += first;
  id += ':';
  id += second;
  return ConversationId(std::move(id));
}

std::optional<PrivatePair> parse_private(std::string_view id) {
  if (id.size() < 6 || id[0] != 'p' || id[1] < '1' || id[1] > '9') return std::nullopt;
  std::size_t length = 0;
  const auto [end, error] = std::from_chars(id.data() + 1, id.data() + id.size(), length);
  const auto start = static_cast<std::size_t>(end - id.data()) + 1;
  if (error != std::errc() || length > kMaxIdBytes || start + length + 1 >= id.size()) return std::nullopt;
  if (id[start - 1] != ':' || id[start + length] != ':') return std::nullopt;
  const PrivatePair pair{id.substr(start, length), id.substr(start + length + 1)};
  if (pair.first > pair.second || !is_valid_id(pair.first) || !is_valid_id(pair.second)) return std::nullopt;
  return pair;
}

}  // namespace dunlin

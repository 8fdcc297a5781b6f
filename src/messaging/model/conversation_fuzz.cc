#include "messaging/model/conversation.h"

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "base/escape.h"

// Only what private_conversation() gives is a private conversation: each has one name, so that no second one reaches the same messages.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace dunlin;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto pair = parse_private(text);
  if (!pair) return 0;
  CHECK(is_valid_id(pair->first) && is_valid_id(pair->second));
  CHECK(private_conversation(pair->second, pair->first).view() == text);
  CHECK(pair->has(pair->first) && pair->peer_of(pair->first) == pair->second);
  return 0;
}

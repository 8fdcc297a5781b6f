#include <cstddef>
#include <cstdint>
#include <string>

#include "base/check.h"
#include "messaging/delivery/sync_token.h"

// A token that was minted is read as it was, by its device alone, and with a byte changed it is nothing. The first bytes choose the token
// and the change. The fuzzer sees what seals are compared with, and learns some: such a text is then exactly what minting gives.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace dunlin;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const SyncTokenMinter minter(SipKey{1, 2});
  if (const auto learned = minter.parse(text, "alice", "phone")) CHECK(minter.mint(*learned, "alice", "phone") == text);
  if (size < 5) return 0;

  SyncToken token;
  token.epoch.value = 0x0102030405060708ULL * data[0];
  if (data[1] != 0) token.position = InboxPosition(0x0001010101010101ULL * data[1]);
  token.listed = InboxPosition(data[2]);
  token.minted = from_ms(std::int64_t{60'000} * data[3]);
  token.run = 0x010101010101ULL * (data[4] / 2U);
  std::string minted = minter.mint(token, "alice", "phone");
  const auto same = minter.parse(minted, "alice", "phone");
  CHECK(same && same->epoch == token.epoch && same->position == token.position && same->listed == token.listed && same->run == token.run);
  CHECK(!minter.parse(minted, "alice", "laptop"));
  CHECK(!minter.parse(minted, "bob", "phone"));
  const std::string before = minted;
  minted[data[4] % minted.size()] = static_cast<char>(data[size - 1]);
  CHECK(minted == before || !minter.parse(minted, "alice", "phone"));
  return 0;
}

#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/ids.h"
#include "base/siphash.h"
#include "messaging/model/epoch.h"

namespace dunlin {

// What a client gives back: at connect "this device has acked everything at or below position", at sync "my conversation list holds
// everything at or below listed". Trusted without a look-up, so it is bound to user and device by a keyed hash; it is not secret.
struct SyncToken {
  Epoch epoch;
  std::optional<InboxPosition> position;  // nothing: says nothing about acks, the stored cursor counts
  InboxPosition listed;
  WallTime minted{};
  std::uint64_t run = 0;  // Inboxes::run() of the store that told the position; 0: not known
};

// Makes and checks sync_tokens: 1 version byte, epoch, position, listed, minute of minting, run (6 bytes), SipHash-2-4-128 over these and
// user and device; 68 characters. Version 1 is without the run; 60 characters. Immutable; any thread.
class SyncTokenMinter {
 public:
  explicit SyncTokenMinter(const SipKey& key) : key_(key) {}  // from the store's secret

  std::string mint(const SyncToken& token, std::string_view user, std::string_view device) const;
  // Nothing for what this key did not mint for this user and device.
  std::optional<SyncToken> parse(std::string_view text, std::string_view user, std::string_view device) const;
  // The epoch that a text of our form names, whoever made it: a restored store has another key too, and its clients bring what the old one
  // sealed. Nothing for any other text.
  static std::optional<Epoch> claimed_epoch(std::string_view text);

 private:
  SipHash128 seal(std::string_view fields, std::string_view user, std::string_view device) const;
  const SipKey key_;
};

}  // namespace dunlin

#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/thread_annotations.h"
#include "session/auth/key_set.h"

namespace dunlin::auth {

// Who a token speaks for, and from when until when: verify() refuses the token before `begins` and from `expires` on (leeway is included),
// so a session that lives longer needs a refresh.
struct Identity {
  UserId user;
  WallTime begins;
  WallTime expires;
  std::string key_id;  // the configured key that signed it
};

struct AuthOptions {
  std::chrono::seconds leeway{30};  // how far clocks may differ, for exp and nbf
  bool require_expiry = true;       // a token without exp is refused; else it counts as valid for ever (WallTime::max())
  std::string issuer;               // if set, iss must be equal
  std::string audience;             // if set, aud must be it or contain it
};

inline constexpr std::size_t kMaxTokenBytes = 8192;
// A token that is good sooner than this is refused for now only: clocks differ, and are set.
inline constexpr std::chrono::minutes kSoonValid{5};

struct VerifyOptions {
  bool cheap_only = false;              // RateLimited instead of a check whose cost is above kCheapMicroseconds
  Milliseconds* valid_after = nullptr;  // of TokenNotYetValid: how long until it is good
};

// Decides whether a token is good. One for the server; replace() swaps keys and options on a reload while others verify. Any thread.
//
// A token is a JWS in compact form whose header names the algorithm of the key that verifies it: the key decides the algorithm, the
// header must agree. `kid` selects one of the configured keys by its id and nothing else; without it every key of that algorithm
// is tried. Headers that bring a key or ask for behaviour (jwk, crit, b64, zip, enc) are refused, as is whatever is not strict base64url
// and JSON; those that name a key elsewhere (jku, x5u, x5c, x5t) are not looked at. `sub` is the user id and must be valid as one
// (base/escape.h).
//
// Errors: TokenExpired for a well-signed token past exp; TokenNotYetValid for one that is good within kSoonValid; RateLimited if it was not
// checked; Unauthorized with the reason for everything else. The reason never holds any part of the token.
class Authenticator {
 public:
  Authenticator(std::shared_ptr<const KeySet> keys, AuthOptions options);

  // The most that a cheap check costs: about what the handshake costs that brought the token.
  static constexpr std::uint32_t kCheapMicroseconds = 200;

  Result<Identity> verify(std::string_view token, WallTime now, VerifyOptions options = {}) const EXCLUDES(mutex_);
  void replace(std::shared_ptr<const KeySet> keys, AuthOptions options) EXCLUDES(mutex_);

 private:
  struct Rules {
    std::shared_ptr<const KeySet> keys;
    AuthOptions options;
  };
  std::shared_ptr<const Rules> rules() const EXCLUDES(mutex_);

  mutable Mutex mutex_;
  std::shared_ptr<const Rules> rules_ GUARDED_BY(mutex_);
};

}  // namespace dunlin::auth

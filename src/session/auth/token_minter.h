#pragma once

#include <chrono>
#include <string>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "session/auth/key_set.h"

namespace dunlin::auth {

struct MintRequest {
  UserId user;
  std::chrono::seconds ttl{3600};
  std::string key_id;    // empty: the first key that can sign
  std::string issuer;    // empty: no iss
  std::string audience;  // empty: no aud
};

// A signed token for `dunlin token` and tests; the server itself never issues one. Config error if no key of the set can sign.
Result<std::string> mint_token(const KeySet& keys, const MintRequest& request, WallTime now);

}  // namespace dunlin::auth

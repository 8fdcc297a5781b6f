#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "config/config.h"
#include "session/auth/authenticator.h"
#include "session/auth/key_set.h"

namespace dunlin {

struct AuthKeys {
  std::vector<auth::KeySpec> specs;
  std::string generated_file;  // not empty: no key is configured, and this file's secret (made now or earlier) is used
  bool generated_now = false;
  std::vector<std::string> warnings;  // keys that verify, but are weaker than they should be
};

// Reads the key files of `auth.keys`. Without a configured key the secret in <store.path>/auth.secret is used; when that does not exist it
// is made (32 random bytes as hex, mode 0600, the folder too). Config error that names key and file when one cannot be read.
// A secret for HS256 of less than 32 bytes can be guessed from one token (RFC 7518, section 3.2): it is taken, with a warning.
Result<AuthKeys> read_auth_keys(const Config& config);

// Those keys, ready to verify with. The error of one that cannot be used names where it is configured.
Result<std::shared_ptr<const auth::KeySet>> make_key_set(const Config& config, const AuthKeys& keys);

// The keys of read_auth_keys(), ready to verify with; says in the log when a secret was made, and what read_auth_keys() warns of.
Result<std::shared_ptr<const auth::KeySet>> load_key_set(const Config& config);

auth::AuthOptions auth_options(const Config& config);

}  // namespace dunlin

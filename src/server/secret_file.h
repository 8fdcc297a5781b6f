#pragma once

#include <string>

#include "base/result.h"

namespace dunlin {

// In the data folder.
inline constexpr const char* kSyncSecretFile = "sync.secret";  // key of sync tokens
inline constexpr const char* kAuthSecretFile = "auth.secret";  // signs tokens when no key is configured

struct SecretFile {
  std::string hex;  // 64 hex digits
  bool made_now = false;
};

// The secret in `path`; when the file does not exist it is made: 32 bytes from the kernel's generator as hex, mode 0600, complete before it
// has its name, so that two processes agree on one.
Result<SecretFile> read_or_make_secret(const std::string& path);

}  // namespace dunlin

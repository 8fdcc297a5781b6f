#include "server/auth_keys.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iterator>

namespace dunlin {
namespace {

constexpr std::size_t kMaxKeyFileBytes = 64 * 1024;

Result<std::string> read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return Error(ErrorCode::Config, "cannot read " + path + ": " + errno_error("open", errno).context());
  std::string bytes(kMaxKeyFileBytes + 1, '\0');
  in.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  bytes.resize(static_cast<std::size_t>(in.gcount()));
  if (in.bad()) return Error(ErrorCode::Config, "cannot read " + path);
  if (bytes.size() > kMaxKeyFileBytes) return Error(ErrorCode::Config, path + " is too large for a key");
  return bytes;
}

std::string without_last_line_break(std::string text) {
  if (text.ends_with('\n')) text.pop_back();
  if (text.ends_with('\r')) text.pop_back();
  return text;
}

Result<auth::KeySpec> read_key(const AuthKeyConfig& key) {
  auth::KeySpec spec;
  spec.id = key.id;
  const auto algorithm = auth::parse_algorithm(key.alg);
  if (!algorithm) return Error(ErrorCode::Config, "auth.keys: unknown alg " + key.alg + " of key " + key.id);
  spec.algorithm = *algorithm;
  spec.secret = key.secret;
  if (!key.secret_file.empty()) {
    TRY_ASSIGN(std::string secret, read_file(key.secret_file));
    spec.secret = without_last_line_break(std::move(secret));
  }
  if (!key.public_key_file.empty()) {
    TRY_ASSIGN(spec.public_pem, read_file(key.public_key_file));
  }
  if (!key.private_key_file.empty()) {
    TRY_ASSIGN(spec.private_pem, read_file(key.private_key_file));
  }
  return spec;
}

Result<std::string> random_hex() {
  unsigned char bytes[32];
  if (getrandom(bytes, sizeof bytes, 0) != static_cast<ssize_t>(sizeof bytes)) return errno_error("getrandom", errno);
  std::string text;
  for (unsigned char byte : bytes) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

// Written under a name of its own and linked into place, so that nobody ever reads half a secret and two processes agree on one.
Status write_secret(const std::string& path, const std::string& secret) {
  const std::string draft = path + "." + std::to_string(getpid());
  const int fd = open(draft.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return errno_error("creating " + draft, errno);
  const bool written = write(fd, secret.data(), secret.size()) == static_cast<ssize_t>(secret.size()) && fsync(fd) == 0;
  const int write_errno = errno;
  close(fd);
  const bool linked = written && link(draft.c_str(), path.c_str()) == 0;
  const int link_errno = errno;
  unlink(draft.c_str());
  if (!written) return errno_error("writing " + draft, write_errno);
  if (!linked && link_errno != EEXIST) return errno_error("creating " + path, link_errno);
  return {};
}

Result<AuthKeys> generated_key(const Config& config) {
  AuthKeys keys;
  keys.generated_file = config.store.path + "/auth.secret";
  std::error_code error;
  if (!std::filesystem::exists(keys.generated_file, error)) {
    std::filesystem::create_directories(config.store.path, error);
    if (error) return Error(ErrorCode::Config, "store.path: cannot create " + config.store.path + ": " + error.message());
    TRY_ASSIGN(const std::string secret, random_hex());
    TRY(write_secret(keys.generated_file, secret));
    keys.generated_now = true;
  }
  auth::KeySpec spec;
  spec.id = "generated";
  TRY_ASSIGN(std::string secret, read_file(keys.generated_file));
  spec.secret = without_last_line_break(std::move(secret));
  keys.specs.push_back(std::move(spec));
  return keys;
}

}  // namespace

Result<AuthKeys> read_auth_keys(const Config& config) {
  if (config.auth.keys.empty()) return generated_key(config);
  AuthKeys keys;
  for (const AuthKeyConfig& key : config.auth.keys) {
    TRY_ASSIGN(auth::KeySpec spec, read_key(key));
    keys.specs.push_back(std::move(spec));
  }
  return keys;
}

auth::AuthOptions auth_options(const Config& config) {
  return {.leeway = std::chrono::seconds(config.auth.leeway_seconds),
          .require_expiry = config.auth.require_expiry,
          .issuer = config.auth.issuer,
          .audience = config.auth.audience};
}

}  // namespace dunlin

#include "server/auth_keys.h"

#include <fmt/format.h>

#include <cerrno>
#include <fstream>

#include "base/log.h"
#include "config/load.h"
#include "server/secret_file.h"

namespace dunlin {
namespace {

constexpr std::size_t kMaxKeyFileBytes = 64 * 1024;
constexpr std::size_t kGoodSecretBytes = 32;

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

std::string key_name(std::size_t index) {
  return fmt::format("auth.keys[{}]", index);
}

Result<auth::KeySpec> read_key(const AuthKeyConfig& key) {
  auth::KeySpec spec;
  spec.id = key.id;
  const auto algorithm = auth::parse_algorithm(key.alg);
  if (!algorithm) return Error(ErrorCode::Config, "unknown alg " + key.alg + " of key " + key.id);
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

Result<AuthKeys> generated_key(const Config& config) {
  AuthKeys keys;
  keys.generated_file = config.store.path + "/" + kAuthSecretFile;
  TRY_ASSIGN(SecretFile secret, read_or_make_secret(keys.generated_file));
  keys.generated_now = secret.made_now;
  auth::KeySpec spec;
  spec.id = "generated";
  spec.secret = std::move(secret.hex);
  keys.specs.push_back(std::move(spec));
  return keys;
}

}  // namespace

Result<AuthKeys> read_auth_keys(const Config& config) {
  if (config.auth.keys.empty()) return generated_key(config);
  AuthKeys keys;
  for (std::size_t i = 0; i < config.auth.keys.size(); ++i) {
    const AuthKeyConfig& key = config.auth.keys[i];
    auto read = read_key(key);
    if (!read.ok()) return config_error(config, key_name(i), read.error().context());
    auth::KeySpec spec = *std::move(read);
    if (spec.algorithm == auth::JwtAlgorithm::HS256 && spec.secret.size() < kGoodSecretBytes) {
      keys.warnings.push_back(
          fmt::format("auth.keys: the secret of {} has {} bytes; HS256 wants {} at least, or it can be guessed from a token", key.id,
                      spec.secret.size(), kGoodSecretBytes));
    }
    keys.specs.push_back(std::move(spec));
  }
  return keys;
}

Result<std::shared_ptr<const auth::KeySet>> make_key_set(const Config& config, const AuthKeys& keys) {
  for (std::size_t i = 0; i < config.auth.keys.size() && i < keys.specs.size(); ++i) {
    const auto alone = auth::KeySet::create(std::span(&keys.specs[i], 1));
    if (!alone.ok()) return config_error(config, key_name(i), alone.error().context());
  }
  return auth::KeySet::create(keys.specs);
}

Result<std::shared_ptr<const auth::KeySet>> load_key_set(const Config& config) {
  TRY_ASSIGN(const AuthKeys keys, read_auth_keys(config));
  if (keys.generated_now) {
    log_info("auth", "no key is configured: a secret was generated; `dunlin token USER` signs with it", {{"file", keys.generated_file}});
  }
  for (const std::string& warning : keys.warnings) log_warn("auth", warning);
  return make_key_set(config, keys);
}

auth::AuthOptions auth_options(const Config& config) {
  return {.leeway = std::chrono::seconds(config.auth.leeway_seconds),
          .require_expiry = config.auth.require_expiry,
          .issuer = config.auth.issuer,
          .audience = config.auth.audience};
}

}  // namespace dunlin

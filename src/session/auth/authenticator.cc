#include "session/auth/authenticator.h"

#include <cmath>
#include <utility>

#include "session/auth/base64url.h"
#include "session/auth/jwt.h"
#include "session/auth/key.h"

namespace dunlin::auth {
namespace {

Error refused(const char* why) {
  return Error(ErrorCode::Unauthorized, why);
}

const Key* find_signer(const KeySet& keys, const JwtHeader& header, std::string_view text, std::string_view signature) {
  if (header.kid) {
    const Key* key = keys.find(*header.kid);
    const bool good = key != nullptr && key->algorithm() == header.algorithm && key->verify(text, signature);
    return good ? key : nullptr;
  }
  for (const auto& key : keys.keys()) {
    if (key->algorithm() == header.algorithm && key->verify(text, signature)) return key.get();
  }
  return nullptr;
}

WallTime to_wall(double seconds) {
  return WallTime(Milliseconds(static_cast<std::int64_t>(std::floor(seconds * 1000))));
}

Status check_times(const JwtClaims& claims, const AuthOptions& options, WallTime now, Identity& identity, Milliseconds* valid_after) {
  if (!claims.expires && options.require_expiry) return refused("exp is missing");
  identity.begins = claims.not_before ? to_wall(*claims.not_before) - options.leeway : WallTime::min();
  identity.expires = claims.expires ? to_wall(*claims.expires) + options.leeway : WallTime::max();
  if (now >= identity.expires) return Error(ErrorCode::TokenExpired, "the token has expired");
  if (now >= identity.begins) return {};
  if (identity.begins - now > kSoonValid) return refused("the token is not valid yet");
  if (valid_after != nullptr) *valid_after = identity.begins - now;
  return Error(ErrorCode::TokenNotYetValid, "the token is not valid yet, by this server's clock");
}

// What the checks that this header asks for cost together.
std::uint32_t check_cost(const KeySet& keys, const JwtHeader& header) {
  std::uint32_t microseconds = 0;
  for (const auto& key : keys.keys()) {
    if (key->algorithm() == header.algorithm && (!header.kid || key->id() == *header.kid)) microseconds += key->check_microseconds();
  }
  return microseconds;
}

}  // namespace

Authenticator::Authenticator(std::shared_ptr<const KeySet> keys, AuthOptions options)
    : rules_(std::make_shared<Rules>(Rules{std::move(keys), std::move(options)})) {}

std::shared_ptr<const Authenticator::Rules> Authenticator::rules() const {
  const MutexLock lock(mutex_);
  return rules_;
}

void Authenticator::replace(std::shared_ptr<const KeySet> keys, AuthOptions options) {
  auto next = std::make_shared<const Rules>(Rules{std::move(keys), std::move(options)});
  const MutexLock lock(mutex_);
  rules_.swap(next);
}

// The signature is checked before the payload is parsed: what nobody signed is not worth reading.
Result<Identity> Authenticator::verify(std::string_view token, WallTime now, VerifyOptions verify) const {
  const std::shared_ptr<const Rules> rules = this->rules();
  thread_local std::string json;
  thread_local std::string signature;
  TRY_ASSIGN(const JwtParts parts, split_token(token));
  if (!decode_base64url(parts.header, json)) return refused("the token's header is not base64url");
  TRY_ASSIGN(const JwtHeader header, parse_header(json));
  if (!decode_base64url(parts.signature, signature)) return refused("the token's signature is not base64url");
  if (verify.cheap_only && check_cost(*rules->keys, header) > kCheapMicroseconds)
    return Error(ErrorCode::RateLimited, "too many tokens of this address were refused: name the token's key in its header (kid), or wait");
  const Key* key = find_signer(*rules->keys, header, parts.signed_text, signature);
  if (key == nullptr) return refused("no key of this server has signed the token");

  const AuthOptions& options = rules->options;
  if (!decode_base64url(parts.payload, json)) return refused("the token's payload is not base64url");
  TRY_ASSIGN(const JwtClaims claims, parse_claims(json, {.issuer = !options.issuer.empty(), .audience = options.audience}));
  if (!options.issuer.empty() && claims.issuer != options.issuer) return refused("the token is of another issuer");
  if (!options.audience.empty() && !claims.audience_matches) return refused("the token is for another audience");
  Identity identity{UserId(claims.subject), {}, {}, key->id()};
  TRY(check_times(claims, options, now, identity, verify.valid_after));
  return identity;
}

}  // namespace dunlin::auth

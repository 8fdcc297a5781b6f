#include "session/auth/token_minter.h"

#include <fmt/format.h>

#include "base/escape.h"
#include "session/auth/base64url.h"
#include "session/auth/key.h"

namespace dunlin::auth {
namespace {

std::string quote_json(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto u = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      (out += '\\') += c;
    } else if (u < 0x20) {
      out += fmt::format("\\u{:04x}", u);
    } else {
      out += c;
    }
  }
  return out + '"';
}

Result<const Key*> choose(const KeySet& keys, const std::string& key_id) {
  for (const auto& key : keys.keys()) {
    if (!key_id.empty() && key->id() != key_id) continue;
    if (key->can_sign()) return key.get();
    if (!key_id.empty()) return Error(ErrorCode::Config, "auth key " + key_id + " has no private key");
  }
  if (!key_id.empty()) return Error(ErrorCode::Config, "there is no auth key " + key_id);
  return Error(ErrorCode::Config, "no auth key can sign: configure one with a secret or a private key");
}

}  // namespace

Result<std::string> mint_token(const KeySet& keys, const MintRequest& request, WallTime now) {
  if (!is_valid_id(request.user.view()))
    return Error(ErrorCode::BadRequest, "a user id is 1 to 64 bytes of UTF-8 without control characters");
  TRY_ASSIGN(const Key* key, choose(keys, request.key_id));
  const std::int64_t issued = to_ms(now) / 1000;
  const std::string header = fmt::format(R"({{"alg":"{}","typ":"JWT","kid":{}}})", algorithm_name(key->algorithm()), quote_json(key->id()));
  std::string claims =
      fmt::format(R"({{"sub":{},"iat":{},"exp":{})", quote_json(request.user.view()), issued, issued + request.ttl.count());
  if (!request.issuer.empty()) claims += ",\"iss\":" + quote_json(request.issuer);
  if (!request.audience.empty()) claims += ",\"aud\":" + quote_json(request.audience);
  claims += '}';
  std::string token = encode_base64url(header) + '.' + encode_base64url(claims);
  TRY_ASSIGN(const std::string signature, key->sign(token));
  return token + '.' + encode_base64url(signature);
}

}  // namespace dunlin::auth

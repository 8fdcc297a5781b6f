#include "session/auth/jwt.h"

#include <simdjson.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "base/escape.h"
#include "session/auth/authenticator.h"

namespace dunlin::auth {
namespace {

constexpr std::size_t kMaxDepth = 16;

// A key or an instruction that a token brings with it: obeying any of them has broken verifiers before.
constexpr std::array<std::string_view, 8> kRefusedHeaders = {"jwk", "jku", "x5u", "x5c", "crit", "b64", "zip", "enc"};
constexpr std::array<std::string_view, 5> kReadClaims = {"sub", "exp", "nbf", "iss", "aud"};

Error refused(const char* why) {
  return Error(ErrorCode::Unauthorized, why);
}

// Parses one object; the result lives until this thread parses again. simdjson reads beyond the text, so it is copied to where it may.
Result<simdjson::dom::object> parse_object(std::string_view json) {
  thread_local simdjson::dom::parser parser;
  thread_local std::array<char, kMaxTokenBytes + simdjson::SIMDJSON_PADDING> buffer;
  if (json.size() > kMaxTokenBytes || json.empty()) return refused("the token's header or payload is not a JSON object");
  if (parser.capacity() == 0 && parser.allocate(kMaxTokenBytes, kMaxDepth) != simdjson::SUCCESS) {
    return Error(ErrorCode::Internal, "no memory for a JSON parser");
  }
  std::memcpy(buffer.data(), json.data(), json.size());
  simdjson::dom::object object;
  const auto error = parser.parse(buffer.data(), json.size(), false).get_object().get(object);
  if (error != simdjson::SUCCESS) return refused("the token's header or payload is not a JSON object");
  return object;
}

template <class Keys>
bool contains(const Keys& keys, std::string_view key) {
  return std::find(keys.begin(), keys.end(), key) != keys.end();
}

bool read_text(const simdjson::dom::element& value, std::string& out) {
  std::string_view text;
  if (value.get_string().get(text) != simdjson::SUCCESS) return false;
  out = text;
  return true;
}

// NumericDate of RFC 7519: seconds, perhaps with a fraction. The bound keeps milliseconds in 64 bits.
bool read_date(const simdjson::dom::element& value, std::optional<double>& out) {
  double seconds = 0;
  if (!value.is_number() || value.get_double().get(seconds) != simdjson::SUCCESS) return false;
  if (!std::isfinite(seconds) || seconds < 0 || seconds > 1e12) return false;
  out = seconds;
  return true;
}

bool read_audience(const simdjson::dom::element& value, std::string_view wanted, bool& matches) {
  if (value.is_string()) {
    matches = std::string_view(value) == wanted;
    return true;
  }
  simdjson::dom::array items;
  if (value.get_array().get(items) != simdjson::SUCCESS) return false;
  for (const simdjson::dom::element item : items) {
    std::string_view text;
    if (item.get_string().get(text) != simdjson::SUCCESS) return false;
    matches = matches || text == wanted;
  }
  return true;
}

Status read_claim(std::string_view key, const simdjson::dom::element& value, std::string_view audience, JwtClaims& claims) {
  if (key == "sub" && !read_text(value, claims.subject)) return refused("sub is not text");
  if (key == "exp" && !read_date(value, claims.expires)) return refused("exp is not a time");
  if (key == "nbf" && !read_date(value, claims.not_before)) return refused("nbf is not a time");
  if (key == "iss" && !read_text(value, claims.issuer.emplace())) return refused("iss is not text");
  if (key == "aud" && !read_audience(value, audience, claims.audience_matches)) return refused("aud is neither text nor a list of texts");
  return {};
}

}  // namespace

Result<JwtParts> split_token(std::string_view token) {
  if (token.size() > kMaxTokenBytes) return refused("the token is too large");
  const auto first = token.find('.');
  const auto second = first == std::string_view::npos ? first : token.find('.', first + 1);
  if (second == std::string_view::npos || token.find('.', second + 1) != std::string_view::npos)
    return refused("the token does not have three parts");
  JwtParts parts;
  parts.signed_text = token.substr(0, second);
  parts.header = token.substr(0, first);
  parts.payload = token.substr(first + 1, second - first - 1);
  parts.signature = token.substr(second + 1);
  if (parts.header.empty() || parts.payload.empty() || parts.signature.empty()) return refused("a part of the token is empty");
  return parts;
}

Result<JwtHeader> parse_header(std::string_view json) {
  TRY_ASSIGN(const simdjson::dom::object object, parse_object(json));
  std::optional<JwtAlgorithm> algorithm;
  JwtHeader header;
  for (const auto [key, value] : object) {
    if (contains(kRefusedHeaders, key)) return refused("the token's header has a field that is not allowed");
    std::string text;
    if (key == "alg") {
      if (algorithm || !read_text(value, text)) return refused("alg is not one text");
      algorithm = parse_algorithm(text);
      if (!algorithm) return refused("alg is none of HS256, RS256, ES256, EdDSA");
    } else if (key == "kid") {
      if (header.kid || !read_text(value, text)) return refused("kid is not one text");
      header.kid = std::move(text);
    }
  }
  if (!algorithm) return refused("alg is missing");
  header.algorithm = *algorithm;
  return header;
}

Result<JwtClaims> parse_claims(std::string_view json, std::string_view audience) {
  TRY_ASSIGN(const simdjson::dom::object object, parse_object(json));
  JwtClaims claims;
  std::array<bool, kReadClaims.size()> seen{};
  for (const auto [key, value] : object) {
    const auto known = std::find(kReadClaims.begin(), kReadClaims.end(), key);
    if (known == kReadClaims.end()) continue;
    bool& again = seen[static_cast<std::size_t>(known - kReadClaims.begin())];
    if (again) return refused("a claim appears twice");
    again = true;
    TRY(read_claim(key, value, audience, claims));
  }
  if (!seen[0]) return refused("sub is missing");
  if (!is_valid_id(claims.subject)) return refused("sub is not a user id: 1 to 64 bytes of UTF-8 without control characters");
  return claims;
}

}  // namespace dunlin::auth

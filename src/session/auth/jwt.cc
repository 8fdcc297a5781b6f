#include "session/auth/jwt.h"

#include <simdjson.h>

#include <array>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/escape.h"
#include "session/auth/authenticator.h"
#include "wire/json_text.h"

namespace dunlin::auth {
namespace {

constexpr std::uint32_t kMaxDepth = 63;  // of a member's value

// A key or an instruction that a token brings with it: obeying any of them has broken verifiers before.
constexpr std::array<std::string_view, 5> kRefusedHeaders = {"jwk", "crit", "b64", "zip", "enc"};

Error refused(const char* why) {
  return Error(ErrorCode::Unauthorized, why);
}

Error not_an_object() {
  return refused("the token's header or payload is not a JSON object");
}

// One member of an object, as it is written: nobody has looked inside yet.
struct Member {
  std::string_view key;
  std::string_view value;
};

char* skip_space(char* at, const char* end) {
  while (at != end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r')) ++at;
  return at;
}

// Cuts an object, or an array (its members have no keys), at its commas. False: it is not valid JSON. `members` views into the text.
bool cut(char* at, char* end, char open, char close, std::vector<Member>& members) {
  members.clear();
  const auto value = [&](std::string_view& out) {
    char* const begin = skip_space(at, end);
    at = wire::check_json_value(begin, end, kMaxDepth).end;
    if (at == nullptr) return false;
    out = {begin, static_cast<std::size_t>(at - begin)};
    at = skip_space(at, end);
    return at != end;
  };
  at = skip_space(at, end);
  if (at == end || *at != open) return false;
  at = skip_space(at + 1, end);
  if (at != end && *at == close) return skip_space(at + 1, end) == end;
  for (;; ++at) {
    Member& member = members.emplace_back();
    if (open == '{' && (!value(member.key) || member.key.front() != '"' || *at++ != ':')) return false;
    if (!value(member.value)) return false;
    if (*at == close) return skip_space(at + 1, end) == end;
    if (*at != ',') return false;
  }
}

// The members live until this thread cuts another one.
Result<const std::vector<Member>*> members_of(std::string_view json) {
  thread_local std::array<char, kMaxTokenBytes> buffer;
  thread_local std::vector<Member> members;
  if (json.size() > buffer.size() || !is_valid_utf8(json)) return not_an_object();
  std::memcpy(buffer.data(), json.data(), json.size());
  if (!cut(buffer.data(), buffer.data() + json.size(), '{', '}', members)) return not_an_object();
  return &members;
}

// The value of one member. simdjson reads beyond the text, so it is copied to where it may; the result lives until the next call.
Result<simdjson::dom::element> parse(std::string_view value) {
  thread_local simdjson::dom::parser parser;
  thread_local std::array<char, kMaxTokenBytes + simdjson::SIMDJSON_PADDING> buffer;
  std::memcpy(buffer.data(), value.data(), value.size());
  simdjson::dom::element element;
  if (parser.parse(buffer.data(), value.size(), false).get(element) != simdjson::SUCCESS) return refused("a value cannot be read");
  return element;
}

bool read_text(std::string_view value, std::string& out) {
  if (value.front() != '"') return false;
  if (value.find('\\') == std::string_view::npos) {
    out = value.substr(1, value.size() - 2);
    return true;
  }
  const auto element = parse(value);
  std::string_view text;
  if (!element.ok() || element->get_string().get(text) != simdjson::SUCCESS) return false;
  out = text;
  return true;
}

// Of a key that is no Unicode text nobody has a use.
bool is_key(const Member& member, std::string_view name) {
  if (member.key.find('\\') == std::string_view::npos) return member.key.substr(1, member.key.size() - 2) == name;
  thread_local std::string text;
  return read_text(member.key, text) && text == name;
}

// NumericDate of RFC 7519: seconds, perhaps with a fraction. The bound keeps milliseconds in 64 bits.
bool read_date(std::string_view value, std::optional<double>& out) {
  const auto element = parse(value);
  double seconds = 0;
  if (!element.ok() || !element->is_number() || element->get_double().get(seconds) != simdjson::SUCCESS) return false;
  if (!std::isfinite(seconds) || seconds < 0 || seconds > 1e12) return false;
  out = seconds;
  return true;
}

bool read_audience(std::string_view value, std::string_view wanted, bool& matches) {
  std::string text;
  if (read_text(value, text)) {
    matches = text == wanted;
    return true;
  }
  thread_local std::string list;
  thread_local std::vector<Member> items;
  list.assign(value);
  if (!cut(list.data(), list.data() + list.size(), '[', ']', items)) return false;
  for (const Member& item : items) {
    if (item.value.front() != '"') return false;
    matches = matches || (read_text(item.value, text) && text == wanted);
  }
  return true;
}

Status read_claim(std::string_view name, std::string_view value, const WantedClaims& wanted, JwtClaims& claims) {
  if (name == "sub" && !read_text(value, claims.subject)) return refused("sub is not text");
  if (name == "exp" && !read_date(value, claims.expires)) return refused("exp is not a time");
  if (name == "nbf" && !read_date(value, claims.not_before)) return refused("nbf is not a time");
  if (name == "iss" && !read_text(value, claims.issuer.emplace())) return refused("iss is not text");
  if (name == "aud" && !read_audience(value, wanted.audience, claims.audience_matches))
    return refused("aud is neither text nor a list of texts");
  return {};
}

// The first member of this name; a second one is refused, since two readers could take different ones.
Result<std::optional<std::string_view>> find_once(const std::vector<Member>& members, std::string_view name) {
  std::optional<std::string_view> found;
  for (const Member& member : members) {
    if (!is_key(member, name)) continue;
    if (found) return refused("a field or claim that is needed appears twice");
    found = member.value;
  }
  return found;
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
  TRY_ASSIGN(const std::vector<Member>* members, members_of(json));
  for (const std::string_view name : kRefusedHeaders) {
    for (const Member& member : *members) {
      if (is_key(member, name)) return refused("the token's header has a field that is not allowed");
    }
  }
  TRY_ASSIGN(const auto alg, find_once(*members, "alg"));
  TRY_ASSIGN(const auto kid, find_once(*members, "kid"));
  JwtHeader header;
  std::string text;
  if (!alg) return refused("alg is missing");
  if (!read_text(*alg, text)) return refused("alg is not text");
  const auto algorithm = parse_algorithm(text);
  if (!algorithm) return refused("alg is none of HS256, RS256, ES256, EdDSA, Ed25519");
  header.algorithm = *algorithm;
  if (kid && !read_text(*kid, header.kid.emplace())) return refused("kid is not text");
  return header;
}

Result<JwtClaims> parse_claims(std::string_view json, const WantedClaims& wanted) {
  TRY_ASSIGN(const std::vector<Member>* members, members_of(json));
  JwtClaims claims;
  for (const std::string_view name : {"sub", "exp", "nbf", "iss", "aud"}) {
    if ((name == "iss" && !wanted.issuer) || (name == "aud" && wanted.audience.empty())) continue;
    TRY_ASSIGN(const auto value, find_once(*members, name));
    if (name == "sub" && !value) return refused("sub is missing");
    if (value) TRY(read_claim(name, *value, wanted, claims));
  }
  if (!is_valid_id(claims.subject)) return refused("sub is not a user id: 1 to 64 bytes of UTF-8 without control characters");
  return claims;
}

}  // namespace dunlin::auth

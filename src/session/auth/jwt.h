#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "session/auth/key_set.h"

// The two JSON objects of a token as values: what is needed is strictly read. Nothing here knows keys or the time.
namespace dunlin::auth {

// A token cut at its two dots. Views into the token.
struct JwtParts {
  std::string_view signed_text;  // header and payload with the dot between them
  std::string_view header;
  std::string_view payload;
  std::string_view signature;
};

struct JwtHeader {
  JwtAlgorithm algorithm = JwtAlgorithm::HS256;
  std::optional<std::string> kid;
};

struct JwtClaims {
  std::string subject;
  std::optional<double> expires;  // seconds since 1970
  std::optional<double> not_before;
  std::optional<std::string> issuer;
  bool audience_matches = false;  // aud is, or contains, the one asked for
};

// Which claims beside sub, exp and nbf are asked for.
struct WantedClaims {
  bool issuer = false;
  std::string_view audience;  // empty: not asked for
};

// Unauthorized with a constant reason for everything that is not strict. The text must be one JSON object, nested at most 64 levels; in it
// only what is needed is read. What the other members hold (numbers of any size, single surrogates, the same name twice) is theirs.
Result<JwtParts> split_token(std::string_view token);
Result<JwtHeader> parse_header(std::string_view json);
Result<JwtClaims> parse_claims(std::string_view json, const WantedClaims& wanted);

}  // namespace dunlin::auth

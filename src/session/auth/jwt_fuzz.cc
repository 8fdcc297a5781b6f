#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "session/auth/authenticator.h"
#include "session/auth/base64url.h"
#include "session/auth/jwt.h"

// The bytes are tried as a token, and as header and payload themselves, so that the fuzzer gets past base64 and the signature.
// No input can be accepted as a token: nobody knows the secret.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace dunlin;
  using namespace dunlin::auth;
  static const Authenticator authenticator(*KeySet::create(std::vector<KeySpec>{{"main", JwtAlgorithm::HS256, "3f9b0c7a51d84e26", {}, {}}}),
                                           {});
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  CHECK(!authenticator.verify(text, from_ms(1'700'000'000'000)).ok());
  (void)parse_header(text);
  const Result<JwtClaims> claims = parse_claims(text, {.issuer = true, .audience = "chat"});
  if (claims.ok()) CHECK(!claims->subject.empty() && claims->subject.size() <= kMaxIdBytes);
  std::string bytes;
  if (decode_base64url(text, bytes)) CHECK(encode_base64url(bytes) == text);
  return 0;
}

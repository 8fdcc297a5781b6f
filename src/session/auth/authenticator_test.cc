#include "session/auth/authenticator.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include <thread>
#include <vector>

#include "session/auth/base64url.h"
#include "session/auth/key.h"
#include "session/auth/token_minter.h"

namespace dunlin::auth {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr std::int64_t kNowSeconds = 1'700'000'000;
const WallTime kNow = from_ms(kNowSeconds * 1000);

std::string pem_of(EVP_PKEY* key, bool is_private) {
  BIO* bio = BIO_new(BIO_s_mem());
  if (is_private) {
    PEM_write_bio_PrivateKey(bio, key, nullptr, nullptr, 0, nullptr, nullptr);
  } else {
    PEM_write_bio_PUBKEY(bio, key);
  }
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  std::string pem(data, static_cast<std::size_t>(size));
  BIO_free(bio);
  return pem;
}

KeySpec make_key(const std::string& id, JwtAlgorithm algorithm) {
  KeySpec spec{id, algorithm, {}, {}, {}};
  EVP_PKEY* key = nullptr;
  switch (algorithm) {
    case JwtAlgorithm::HS256: spec.secret = "a secret of " + id + " that is long enough"; return spec;
    case JwtAlgorithm::RS256: key = EVP_RSA_gen(2048); break;
    case JwtAlgorithm::ES256: key = EVP_EC_gen("P-256"); break;
    case JwtAlgorithm::EdDSA: key = EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"); break;
  }
  spec.private_pem = pem_of(key, true);
  spec.public_pem = pem_of(key, false);
  EVP_PKEY_free(key);
  return spec;
}

std::shared_ptr<const KeySet> key_set(const std::vector<KeySpec>& specs) {
  Result<std::shared_ptr<const KeySet>> set = KeySet::create(specs);
  EXPECT_TRUE(set.ok()) << (set.ok() ? "" : set.error().context());
  return set.ok() ? *set : nullptr;
}

// One key of each algorithm, made once: RSA keys take a while.
const std::vector<KeySpec>& all_specs() {
  static const std::vector<KeySpec> specs = {make_key("hs", JwtAlgorithm::HS256), make_key("rs", JwtAlgorithm::RS256),
                                             make_key("es", JwtAlgorithm::ES256), make_key("ed", JwtAlgorithm::EdDSA)};
  return specs;
}

const KeySpec& spec_of(const std::string& id) {
  for (const KeySpec& spec : all_specs()) {
    if (spec.id == id) return spec;
  }
  return all_specs().front();
}

std::string sign(const KeySpec& spec, const std::string& header, const std::string& claims) {
  const std::string text = encode_base64url(header) + "." + encode_base64url(claims);
  const Result<Key> key = Key::create(spec);
  EXPECT_TRUE(key.ok());
  const Result<std::string> signature = key->sign(text);
  EXPECT_TRUE(signature.ok());
  return text + "." + encode_base64url(*signature);
}

std::string claims(const std::string& more = "") {
  return fmt::format(R"({{"sub":"alice","exp":{}{}}})", kNowSeconds + 60, more);
}

std::string hs_header(const std::string& more = "") {
  return R"({"alg":"HS256")" + more + "}";
}

class AuthenticatorTest : public ::testing::Test {
 protected:
  Result<Identity> verify(const std::string& token, WallTime now = kNow) const { return authenticator_.verify(token, now); }
  std::string reason(const std::string& token, ErrorCode code = ErrorCode::Unauthorized) const {
    const Result<Identity> result = verify(token);
    if (result.ok()) return "accepted";
    EXPECT_EQ(result.error().code(), code) << result.error().context();
    return result.error().context();
  }
  Authenticator authenticator_{key_set(all_specs()), {}};
};

TEST_F(AuthenticatorTest, AcceptsEveryAlgorithmWithAndWithoutKid) {
  for (const KeySpec& spec : all_specs()) {
    const std::string name(algorithm_name(spec.algorithm));
    for (const std::string& kid : {std::string(), ",\"kid\":\"" + spec.id + "\""}) {
      const Result<Identity> identity = verify(sign(spec, fmt::format(R"({{"alg":"{}"{}}})", name, kid), claims()));
      ASSERT_TRUE(identity.ok()) << name << ": " << identity.error().context();
      EXPECT_EQ(identity->user.view(), "alice");
      EXPECT_EQ(identity->key_id, spec.id);
      EXPECT_EQ(to_ms(identity->expires), (kNowSeconds + 60 + 30) * 1000);
    }
  }
}

TEST_F(AuthenticatorTest, MintedTokensVerifyForEveryKeyAndAnyUser) {
  const std::shared_ptr<const KeySet> keys = key_set(all_specs());
  for (const char* id : {"hs", "rs", "es", "ed"}) {
    for (const char* user : {"alice", "q\"uo\\te", "\xE7\x94\xA8\xE6\x88\xB7", "a b@c/d"}) {
      const Result<std::string> token = mint_token(*keys, {UserId(std::string_view(user)), std::chrono::seconds(60), id, {}, {}}, kNow);
      ASSERT_TRUE(token.ok()) << token.error().context();
      const Result<Identity> identity = verify(*token);
      ASSERT_TRUE(identity.ok()) << identity.error().context();
      EXPECT_EQ(identity->user.view(), user);
    }
  }
  EXPECT_FALSE(mint_token(*keys, {UserId(std::string_view("")), {}, {}, {}, {}}, kNow).ok());
  EXPECT_FALSE(mint_token(*keys, {UserId(std::string_view("a")), {}, "nobody", {}, {}}, kNow).ok());
}

// S5. Each token is signed as well as its attacker could: only the trick can make it fail.
TEST_F(AuthenticatorTest, RefusesAlgorithmConfusionAndHeaderTricks) {
  const KeySpec& hs = spec_of("hs");
  KeySpec hmac_with_rsa_public{"x", JwtAlgorithm::HS256, spec_of("rs").public_pem, {}, {}};
  KeySpec hmac_with_ec_public{"x", JwtAlgorithm::HS256, spec_of("es").public_pem, {}, {}};
  KeySpec empty_like{"x", JwtAlgorithm::HS256, std::string(1, '\0'), {}, {}};
  const KeySpec stranger = make_key("stranger", JwtAlgorithm::ES256);
  const auto unsigned_token = [](const std::string& header) { return encode_base64url(header) + "." + encode_base64url(claims()) + "."; };
  const std::pair<const char*, std::string> table[] = {
      {"HMAC with the RSA public key", sign(hmac_with_rsa_public, hs_header(), claims())},
      {"the same with its kid", sign(hmac_with_rsa_public, hs_header(R"(,"kid":"rs")"), claims())},
      {"HMAC with the EC public key", sign(hmac_with_ec_public, hs_header(R"(,"kid":"es")"), claims())},
      {"HMAC with NUL", sign(empty_like, hs_header(), claims())},
      {"HMAC signature, RS256 claimed", sign(hs, R"({"alg":"RS256"})", claims())},
      {"HMAC signature, kid of another algorithm", sign(hs, hs_header(R"(,"kid":"ed")"), claims())},
      {"EdDSA signature, ES256 claimed", sign(spec_of("ed"), R"({"alg":"ES256"})", claims())},
      {"none, unsigned", unsigned_token(R"({"alg":"none"})")},
      {"none, signed", sign(hs, R"({"alg":"none"})", claims())},
      {"None", sign(hs, R"({"alg":"None"})", claims())},
      {"NONE", sign(hs, R"({"alg":"NONE"})", claims())},
      {"empty alg", sign(hs, R"({"alg":""})", claims())},
      {"lower case", sign(hs, R"({"alg":"hs256"})", claims())},
      {"HS384", sign(hs, R"({"alg":"HS384"})", claims())},
      {"PS256", sign(spec_of("rs"), R"({"alg":"PS256"})", claims())},
      {"alg a list", sign(hs, R"({"alg":["HS256"]})", claims())},
      {"alg null", sign(hs, R"({"alg":null})", claims())},
      {"alg missing", sign(hs, R"({"typ":"JWT"})", claims())},
      {"alg twice", sign(hs, R"({"alg":"none","alg":"HS256"})", claims())},
      {"HS256 without signature", unsigned_token(hs_header())},
      {"jwk", sign(hs, hs_header(R"(,"jwk":{"kty":"oct","k":"AA"})"), claims())},
      {"jku of a stranger", sign(stranger, R"({"alg":"ES256","jku":"https://evil.example/keys"})", claims())},
      {"x5u of a stranger", sign(stranger, R"({"alg":"ES256","x5u":"https://evil.example/cert"})", claims())},
      {"x5c of a stranger", sign(stranger, R"({"alg":"ES256","x5c":["AA"]})", claims())},
      {"crit", sign(hs, hs_header(R"(,"crit":["exp"])"), claims())},
      {"crit, spelled with an escape", sign(hs, hs_header(R"(,"\u0063rit":["exp"])"), claims())},
      {"alg twice, once with an escape", sign(hs, R"({"alg":"HS256","\u0061lg":"none"})", claims())},
      {"kid a single surrogate", sign(hs, hs_header(R"(,"kid":"\ud800")"), claims())},
      {"Ed25519 claimed for HMAC", sign(hs, R"({"alg":"Ed25519"})", claims())},
      {"ed25519", sign(spec_of("ed"), R"({"alg":"ed25519"})", claims())},
      {"Ed448", sign(spec_of("ed"), R"({"alg":"Ed448"})", claims())},
      {"b64", sign(hs, hs_header(R"(,"b64":false)"), claims())},
      {"zip", sign(hs, hs_header(R"(,"zip":"DEF")"), claims())},
      {"kid with a path", sign(hs, hs_header(R"(,"kid":"../../../../dev/null")"), claims())},
      {"kid with SQL", sign(hs, hs_header(R"(,"kid":"x' UNION SELECT 'key")"), claims())},
      {"kid unknown", sign(hs, hs_header(R"(,"kid":"other")"), claims())},
      {"kid empty", sign(hs, hs_header(R"(,"kid":"")"), claims())},
      {"kid a number", sign(hs, hs_header(R"(,"kid":1)"), claims())},
      {"kid twice", sign(hs, hs_header(R"(,"kid":"x","kid":"hs")"), claims())},
      {"kid with NUL", sign(hs, hs_header(R"(,"kid":"hs\u0000")"), claims())},
      {"another key of the algorithm", sign(stranger, R"({"alg":"ES256"})", claims())},
      {"ES256 of zeros",
       encode_base64url(R"({"alg":"ES256"})") + "." + encode_base64url(claims()) + "." + encode_base64url(std::string(64, '\0'))},
      {"EdDSA of zeros",
       encode_base64url(R"({"alg":"EdDSA"})") + "." + encode_base64url(claims()) + "." + encode_base64url(std::string(64, '\0'))},
  };
  for (const auto& [trick, token] : table) EXPECT_NE(reason(token), "accepted") << trick;
}

TEST_F(AuthenticatorTest, RefusesBadFormAndClaims) {
  const KeySpec& hs = spec_of("hs");
  const auto with = [&](const std::string& payload) { return sign(hs, hs_header(), payload); };
  const std::string good = with(claims());
  const std::string exp = fmt::format(R"("exp":{})", kNowSeconds + 60);
  const std::pair<const char*, std::string> table[] = {
      {"empty", ""},
      {"one part", "abc"},
      {"two parts", good.substr(0, good.rfind('.'))},
      {"four parts", good + ".x"},
      {"five parts (JWE)", "a.b.c.d.e"},
      {"padding", good + "="},
      {"newline", good + "\n"},
      {"space before", " " + good},
      {"Bearer", "Bearer " + good},
      {"too large", good + std::string(kMaxTokenBytes, 'A')},
      {"payload not JSON", with("hello")},
      {"payload a list", with("[]")},
      {"payload with rest", with(claims() + "x")},
      {"deep payload", with(R"({"sub":"a","x":)" + std::string(500, '[') + std::string(500, ']') + "}")},
      {"invalid UTF-8", with("{\"sub\":\"\xff\"," + exp + "}")},
      {"no sub", with("{" + exp + "}")},
      {"sub empty", with("{\"sub\":\"\"," + exp + "}")},
      {"sub a number", with("{\"sub\":1," + exp + "}")},
      {"sub with a line break", with("{\"sub\":\"a\\nb\"," + exp + "}")},
      {"sub too long", with("{\"sub\":\"" + std::string(65, 'a') + "\"," + exp + "}")},
      {"sub twice", with("{\"sub\":\"a\",\"sub\":\"b\"," + exp + "}")},
      {"no exp", with(R"({"sub":"a"})")},
      {"exp text", with(R"({"sub":"a","exp":"9999999999"})")},
      {"exp huge", with(R"({"sub":"a","exp":1e300})")},
      {"exp negative", with(R"({"sub":"a","exp":-1})")},
      {"exp null", with(R"({"sub":"a","exp":null})")},
      {"exp twice", with("{\"sub\":\"a\"," + exp + "," + exp + "}")},
      {"nbf in the future", with(claims(fmt::format(R"(,"nbf":{})", kNowSeconds + 331)))},
      {"sub twice, once with an escape", with("{\"sub\":\"a\",\"s\\u0075b\":\"b\"," + exp + "}")},
      {"sub a single surrogate", with("{\"sub\":\"\\ud83d\"," + exp + "}")},
      {"exp twice, once with an escape", with("{\"sub\":\"a\"," + exp + ",\"\\u0065xp\":1}")},
      {"exp too large a number", with("{\"sub\":\"a\",\"exp\":1.5e400}")},
      {"nbf too large an integer", with(claims(R"(,"nbf":18446744073709551616)"))},
      {"65 levels", with(claims(",\"x\":" + std::string(64, '[') + std::string(64, ']')))},
      {"no comma", with(R"({"sub":"a" "x":1,)" + exp + "}")},
      {"a comma at the end", with("{\"sub\":\"a\"," + exp + ",}")},
      {"a key that is no text", with("{\"sub\":\"a\"," + exp + ",1:2}")},
      {"garbage in a claim that is not needed", with(claims(R"(,"x":[1 2])"))},
      {"no end", with("{\"sub\":\"a\"," + exp)},
      {"nbf text", with(claims(R"(,"nbf":"0")"))},
  };
  ASSERT_TRUE(verify(good).ok());
  for (const auto& [fault, token] : table) EXPECT_NE(reason(token), "accepted") << fault;
}

// What is not needed is not read: whatever JSON it is, it breaks no good token.
TEST_F(AuthenticatorTest, ClaimsAndFieldsThatAreNotNeededDoNoHarm) {
  const KeySpec& hs = spec_of("hs");
  const std::string table[] = {
      R"("uid":18446744073709551616)",
      R"("n":1.5e400)",
      R"("n":-0.0e-999)",
      R"("name":"\ud83d")",
      R"("\udc00":1)",
      R"("x":)" + std::string(17, '[') + std::string(17, ']'),
      R"("x":)" + std::string(63, '[') + std::string(63, ']'),
      R"("x":{},"y":[],"z":null,"x":{"sub":"mallory","exp":0})",
      R"("iss":5)",
      R"("aud":{"chat":1})",
      R"("aud":["chat","\ud800"],"iss":"a","iss":"b")",
      R"( "spaced" : [ 1 , 2 ] )",
  };
  for (const std::string& more : table) {
    const Result<Identity> by_claims = verify(sign(hs, hs_header(), claims("," + more)));
    EXPECT_TRUE(by_claims.ok()) << more << ": " << by_claims.error().context();
    EXPECT_EQ(by_claims->user.view(), "alice");
    EXPECT_TRUE(verify(sign(hs, hs_header("," + more), claims())).ok()) << "in the header: " << more;
  }
}

// They name keys that are elsewhere. Nobody goes there: the key is one of the server's, or the token is refused.
TEST_F(AuthenticatorTest, KeysThatAHeaderPointsToAreNeitherFetchedNorBelieved) {
  const KeySpec stranger = make_key("stranger", JwtAlgorithm::HS256);
  for (const char* more : {R"(,"jku":"http://127.0.0.1:1/keys")", R"(,"x5u":"http://127.0.0.1:1/cert")", R"(,"x5c":["AA"])",
                           R"(,"x5t":"AA")", R"(,"x5t#S256":"AA","jku":5)"}) {
    EXPECT_TRUE(verify(sign(spec_of("hs"), hs_header(more), claims())).ok()) << more;
    EXPECT_NE(reason(sign(stranger, hs_header(more), claims())), "accepted") << more;
  }
}

TEST_F(AuthenticatorTest, Ed25519IsAnotherNameOfEdDSA) {
  EXPECT_TRUE(verify(sign(spec_of("ed"), R"({"alg":"Ed25519"})", claims())).ok());
  EXPECT_TRUE(verify(sign(spec_of("ed"), R"({"alg":"Ed25519","kid":"ed"})", claims())).ok());
}

TEST_F(AuthenticatorTest, ATokenThatIsGoodSoonIsRefusedForNowAndSaysHowLong) {
  const auto at = [&](std::int64_t nbf, Milliseconds* wait) {
    return authenticator_.verify(sign(spec_of("hs"), hs_header(), claims(fmt::format(R"(,"nbf":{})", kNowSeconds + nbf))), kNow,
                                 {.cheap_only = false, .valid_after = wait});
  };
  Milliseconds wait{-1};
  const Result<Identity> good = at(30, &wait);
  ASSERT_TRUE(good.ok());
  EXPECT_EQ(good->begins, kNow);
  EXPECT_EQ(at(31, &wait).error().code(), ErrorCode::TokenNotYetValid);
  EXPECT_EQ(wait, Milliseconds(1'000));
  EXPECT_EQ(at(330, &wait).error().code(), ErrorCode::TokenNotYetValid);
  EXPECT_EQ(wait, Milliseconds(300'000));
  EXPECT_EQ(at(331, &wait).error().code(), ErrorCode::Unauthorized) << "that is no clock which differs a little";
  EXPECT_EQ(at(31, nullptr).error().code(), ErrorCode::TokenNotYetValid);
  EXPECT_EQ(reason(sign(make_key("stranger", JwtAlgorithm::HS256), hs_header(), claims(fmt::format(R"(,"nbf":{})", kNowSeconds + 31)))),
            "no key of this server has signed the token");
}

TEST_F(AuthenticatorTest, ChecksThatCostMuchCanBeLeftOut) {
  std::vector<KeySpec> specs = all_specs();
  for (const char* id : {"es2", "es3", "es4"}) specs.push_back(make_key(id, JwtAlgorithm::ES256));
  const Authenticator authenticator(key_set(specs), {});
  const auto cheap = [&](const KeySpec& spec, const std::string& header) {
    return authenticator.verify(sign(spec, header, claims()), kNow, {.cheap_only = true, .valid_after = nullptr});
  };
  EXPECT_TRUE(cheap(spec_of("hs"), hs_header()).ok());
  EXPECT_TRUE(cheap(spec_of("rs"), R"({"alg":"RS256"})").ok());
  EXPECT_TRUE(cheap(spec_of("ed"), R"({"alg":"EdDSA"})").ok());
  EXPECT_TRUE(cheap(spec_of("es"), R"({"alg":"ES256","kid":"es"})").ok()) << "named: one check";
  EXPECT_EQ(cheap(spec_of("es"), R"({"alg":"ES256"})").error().code(), ErrorCode::RateLimited) << "four keys to try";
  EXPECT_TRUE(authenticator.verify(sign(spec_of("es"), R"({"alg":"ES256"})", claims()), kNow).ok());
}

TEST_F(AuthenticatorTest, EveryChangedByteIsRefused) {
  const std::string good = sign(spec_of("hs"), hs_header(), claims());
  for (std::size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = bad[i] == 'A' ? 'B' : 'A';
    EXPECT_FALSE(verify(bad).ok()) << i;
    EXPECT_FALSE(verify(good.substr(0, i)).ok()) << i;
  }
}

TEST_F(AuthenticatorTest, ReasonsNeverHoldPartsOfTheToken) {
  const std::string token = sign(spec_of("hs"), hs_header(R"(,"kid":"sesame")"), claims());
  EXPECT_THAT(reason(token), Not(HasSubstr("sesame")));
  EXPECT_THAT(reason("sesame.sesame.sesame"), Not(HasSubstr("sesame")));
}

TEST_F(AuthenticatorTest, ExpiryAndNotBeforeAllowTheLeewayAndNoMore) {
  const std::string token = sign(spec_of("hs"), hs_header(), fmt::format(R"({{"sub":"a","exp":{0},"nbf":{0}}})", kNowSeconds));
  const auto at = [&](std::int64_t ms) { return verify(token, from_ms(kNowSeconds * 1000 + ms)); };
  EXPECT_FALSE(at(-30'001).ok());
  EXPECT_TRUE(at(-30'000).ok());
  EXPECT_TRUE(at(29'999).ok());
  ASSERT_FALSE(at(30'000).ok());
  EXPECT_EQ(at(30'000).error().code(), ErrorCode::TokenExpired);
  EXPECT_EQ(to_ms(at(0)->expires), kNowSeconds * 1000 + 30'000);
}

TEST_F(AuthenticatorTest, ForgedExpiredTokenIsUnauthorizedNotExpired) {
  KeySpec other{"hs", JwtAlgorithm::HS256, "another secret", {}, {}};
  EXPECT_NE(reason(sign(other, hs_header(), R"({"sub":"a","exp":1})")), "accepted");
  EXPECT_EQ(reason(sign(spec_of("hs"), hs_header(), R"({"sub":"a","exp":1})"), ErrorCode::TokenExpired), "the token has expired");
}

TEST_F(AuthenticatorTest, IssuerAndAudienceMustMatchWhenConfigured) {
  AuthOptions options;
  options.issuer = "me";
  options.audience = "chat";
  const Authenticator strict(key_set(all_specs()), options);
  const auto ok = [&](const std::string& more) { return strict.verify(sign(spec_of("hs"), hs_header(), claims(more)), kNow).ok(); };
  EXPECT_TRUE(ok(R"(,"iss":"me","aud":"chat")"));
  EXPECT_TRUE(ok(R"(,"iss":"me","aud":["x","chat"])"));
  EXPECT_FALSE(ok(R"(,"iss":"me","aud":["x"])"));
  EXPECT_FALSE(ok(R"(,"iss":"me")"));
  EXPECT_FALSE(ok(R"(,"iss":"you","aud":"chat")"));
  EXPECT_FALSE(ok(R"(,"iss":"me","aud":{"chat":1})"));
  EXPECT_FALSE(ok(R"(,"aud":"chat")"));
}

TEST_F(AuthenticatorTest, TokenWithoutExpiryIsGoodForEverWhenAllowed) {
  AuthOptions options;
  options.require_expiry = false;
  const Authenticator loose(key_set(all_specs()), options);
  const Result<Identity> identity = loose.verify(sign(spec_of("hs"), hs_header(), R"({"sub":"a"})"), kNow);
  ASSERT_TRUE(identity.ok());
  EXPECT_EQ(identity->expires, WallTime::max());
}

// R9.5: two keys of one algorithm at once, then the old one withdrawn while others verify.
TEST_F(AuthenticatorTest, KeysRotateWithoutRestartWhileThreadsVerify) {
  const KeySpec old_key{"old", JwtAlgorithm::HS256, "old secret", {}, {}};
  const KeySpec new_key{"new", JwtAlgorithm::HS256, "new secret", {}, {}};
  Authenticator authenticator(key_set({old_key, new_key}), {});
  const std::string old_token = sign(old_key, hs_header(), claims());
  const std::string new_token = sign(new_key, hs_header(), claims());
  EXPECT_TRUE(authenticator.verify(old_token, kNow).ok());
  std::atomic<bool> stop{false};
  std::atomic<int> failures{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&] {
      while (!stop) failures += authenticator.verify(new_token, kNow).ok() ? 0 : 1;
    });
  }
  for (int i = 0; i < 50; ++i) authenticator.replace(key_set({new_key}), {});
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
  EXPECT_FALSE(authenticator.verify(old_token, kNow).ok());
  EXPECT_TRUE(authenticator.verify(new_token, kNow).ok());
}

TEST(KeySetTest, RefusesKeysThatDoNotFitTheirAlgorithm) {
  const auto refused = [](KeySpec spec) { return !KeySet::create(std::vector<KeySpec>{std::move(spec)}).ok(); };
  const std::string rsa = spec_of("rs").public_pem;
  EXPECT_TRUE(refused({"a", JwtAlgorithm::HS256, "", {}, {}}));
  EXPECT_TRUE(refused({"a", JwtAlgorithm::RS256, "", "garbage", {}}));
  EXPECT_TRUE(refused({"a", JwtAlgorithm::RS256, "", {}, {}}));
  EXPECT_TRUE(refused({"a", JwtAlgorithm::ES256, "", rsa, {}}));
  EXPECT_TRUE(refused({"a", JwtAlgorithm::EdDSA, "", rsa, {}}));
  EXPECT_TRUE(refused({"a", JwtAlgorithm::RS256, "", spec_of("es").public_pem, {}}));
  EXPECT_TRUE(refused({"a", JwtAlgorithm::RS256, "", rsa, make_key("b", JwtAlgorithm::RS256).private_pem}));
  EVP_PKEY* small = EVP_RSA_gen(1024);
  EXPECT_TRUE(refused({"a", JwtAlgorithm::RS256, "", pem_of(small, false), {}}));
  EVP_PKEY_free(small);
  EVP_PKEY* curve = EVP_EC_gen("P-384");
  EXPECT_TRUE(refused({"a", JwtAlgorithm::ES256, "", pem_of(curve, false), {}}));
  EVP_PKEY_free(curve);
  EXPECT_FALSE(refused({"a", JwtAlgorithm::RS256, "", {}, spec_of("rs").private_pem}));
  EXPECT_FALSE(KeySet::create({}).ok());
  EXPECT_FALSE(KeySet::create(std::vector<KeySpec>(2, spec_of("hs"))).ok());
}

TEST(KeySetTest, SecretsOfAnyBytesWork) {
  for (int first = 0; first < 256; ++first) {
    const KeySpec spec{"k", JwtAlgorithm::HS256, std::string(1, static_cast<char>(first)) + std::string("\0x", 2), {}, {}};
    const Authenticator authenticator(key_set({spec}), {});
    EXPECT_TRUE(authenticator.verify(sign(spec, hs_header(), claims()), kNow).ok()) << first;
  }
}

// RFC 7515 appendix A.1: a token that others made.
TEST(KeyTest, VerifiesTheHmacExampleOfTheStandard) {
  std::string secret;
  ASSERT_TRUE(decode_base64url("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow", secret));
  const Result<Key> key = Key::create({"k", JwtAlgorithm::HS256, secret, {}, {}});
  ASSERT_TRUE(key.ok());
  std::string signature;
  ASSERT_TRUE(decode_base64url("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", signature));
  EXPECT_TRUE(
      key->verify("eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9."
                  "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ",
                  signature));
}

}  // namespace
}  // namespace dunlin::auth

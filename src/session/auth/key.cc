#include "session/auth/key.h"

#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/pem.h>

#include <array>
#include <atomic>
#include <memory>
#include <utility>

namespace dunlin::auth {
namespace {

constexpr std::size_t kHmacBytes = 32;
constexpr std::size_t kEcHalf = 32;          // r and s of P-256
constexpr std::size_t kMaxSignature = 1024;  // RSA with 8192 bits

template <auto Free>
struct Deleter {
  template <class T>
  void operator()(T* object) const {
    Free(object);
  }
};
using Bio = std::unique_ptr<BIO, Deleter<BIO_free>>;
using MacContext = std::unique_ptr<EVP_MAC_CTX, Deleter<EVP_MAC_CTX_free>>;
using DigestContext = std::unique_ptr<EVP_MD_CTX, Deleter<EVP_MD_CTX_free>>;
using EcSignature = std::unique_ptr<ECDSA_SIG, Deleter<ECDSA_SIG_free>>;

const unsigned char* bytes(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

Error wrong(const KeySpec& spec, std::string_view why) {
  ERR_clear_error();
  return Error(ErrorCode::Config, "auth key " + spec.id + ": " + std::string(why));
}

// No passphrase is ever asked for on the terminal.
int no_passphrase(char*, int, int, void*) {
  return -1;
}

EVP_PKEY* read_pem(const std::string& pem, bool is_private) {
  const Bio bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  if (!bio) return nullptr;
  return is_private ? PEM_read_bio_PrivateKey(bio.get(), nullptr, no_passphrase, nullptr)
                    : PEM_read_bio_PUBKEY(bio.get(), nullptr, no_passphrase, nullptr);
}

bool is_p256(const EVP_PKEY* key) {
  std::array<char, 32> group{};
  std::size_t length = 0;
  return EVP_PKEY_get_group_name(key, group.data(), group.size(), &length) == 1 && std::string_view(group.data(), length) == "prime256v1";
}

const char* why_unfit(JwtAlgorithm algorithm, const EVP_PKEY* key) {
  switch (algorithm) {
    case JwtAlgorithm::RS256: {
      const int bits = EVP_PKEY_get_bits(key);
      return EVP_PKEY_is_a(key, "RSA") == 1 && bits >= 2048 && bits <= 8192 ? nullptr : "RS256 needs an RSA key of 2048 to 8192 bits";
    }
    case JwtAlgorithm::ES256: return EVP_PKEY_is_a(key, "EC") == 1 && is_p256(key) ? nullptr : "ES256 needs an EC key on P-256";
    case JwtAlgorithm::EdDSA: return EVP_PKEY_is_a(key, "ED25519") == 1 ? nullptr : "EdDSA needs an Ed25519 key";
    case JwtAlgorithm::HS256: break;
  }
  return "HS256 takes no PEM";
}

const EVP_MD* digest_of(JwtAlgorithm algorithm) {
  return algorithm == JwtAlgorithm::EdDSA ? nullptr : EVP_sha256();
}

MacContext make_mac(const std::string& secret) {
  static EVP_MAC* const mac = EVP_MAC_fetch(nullptr, "HMAC", nullptr);
  MacContext context(mac == nullptr ? nullptr : EVP_MAC_CTX_new(mac));
  char digest[] = "SHA256";
  const std::array<OSSL_PARAM, 2> parameters = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
                                                OSSL_PARAM_construct_end()};
  if (!context || EVP_MAC_init(context.get(), bytes(secret), secret.size(), parameters.data()) != 1) return nullptr;
  return context;
}

// This thread's contexts, by key. A reload brings keys with new serials; the oldest entries make room.
EVP_MAC_CTX* cached_mac(std::uint64_t serial, const std::string& secret) {
  struct Entry {
    std::uint64_t serial = 0;
    MacContext context;
  };
  thread_local std::array<Entry, KeySet::kMaxKeys> cache;
  thread_local std::size_t next = 0;
  for (Entry& entry : cache) {
    if (entry.serial == serial) return entry.context.get();
  }
  Entry& entry = cache[next++ % cache.size()];
  entry.context = make_mac(secret);
  entry.serial = entry.context ? serial : 0;
  return entry.context.get();
}

// JWS writes r and s as 64 raw bytes, OpenSSL as DER.
bool raw_to_der(std::string_view raw, std::string& der) {
  if (raw.size() != 2 * kEcHalf) return false;
  const EcSignature signature(ECDSA_SIG_new());
  BIGNUM* r = BN_bin2bn(bytes(raw), kEcHalf, nullptr);
  BIGNUM* s = BN_bin2bn(bytes(raw) + kEcHalf, kEcHalf, nullptr);
  if (!signature || ECDSA_SIG_set0(signature.get(), r, s) != 1) {
    BN_free(r);
    BN_free(s);
    return false;
  }
  unsigned char* out = nullptr;
  const int length = i2d_ECDSA_SIG(signature.get(), &out);
  if (length <= 0) return false;
  der.assign(reinterpret_cast<char*>(out), static_cast<std::size_t>(length));
  OPENSSL_free(out);
  return true;
}

bool der_to_raw(std::string_view der, std::string& raw) {
  const unsigned char* at = bytes(der);
  const EcSignature signature(d2i_ECDSA_SIG(nullptr, &at, static_cast<long>(der.size())));
  if (!signature) return false;
  raw.resize(2 * kEcHalf);
  auto* out = reinterpret_cast<unsigned char*>(raw.data());
  return BN_bn2binpad(ECDSA_SIG_get0_r(signature.get()), out, kEcHalf) == kEcHalf &&
         BN_bn2binpad(ECDSA_SIG_get0_s(signature.get()), out + kEcHalf, kEcHalf) == kEcHalf;
}

}  // namespace

Key::Key(const KeySpec& spec, std::uint64_t serial) : id_(spec.id), algorithm_(spec.algorithm), serial_(serial), secret_(spec.secret) {}

Key::Key(Key&& other) noexcept
    : id_(std::move(other.id_)),
      algorithm_(other.algorithm_),
      serial_(other.serial_),
      secret_(std::move(other.secret_)),
      public_(std::exchange(other.public_, nullptr)),
      private_(std::exchange(other.private_, nullptr)) {}

Key::~Key() {
  OPENSSL_cleanse(secret_.data(), secret_.size());
  EVP_PKEY_free(public_);
  EVP_PKEY_free(private_);
}

Result<Key> Key::create(const KeySpec& spec) {
  static std::atomic<std::uint64_t> serials{0};
  Key key(spec, serials.fetch_add(1, std::memory_order_relaxed) + 1);
  if (spec.algorithm == JwtAlgorithm::HS256) {
    if (spec.secret.empty()) return wrong(spec, "the secret is empty");
    if (!make_mac(spec.secret)) return wrong(spec, "OpenSSL refused the secret");
    return key;
  }
  if (!spec.private_pem.empty()) {
    key.private_ = read_pem(spec.private_pem, true);
    if (key.private_ == nullptr) return wrong(spec, "the private key is not an unencrypted PEM private key");
    if (const char* why = why_unfit(spec.algorithm, key.private_)) return wrong(spec, why);
  }
  if (!spec.public_pem.empty()) {
    key.public_ = read_pem(spec.public_pem, false);
    if (key.public_ == nullptr) return wrong(spec, "the public key is not a PEM public key");
    if (const char* why = why_unfit(spec.algorithm, key.public_)) return wrong(spec, why);
  } else if (key.private_ != nullptr && EVP_PKEY_up_ref(key.private_) == 1) {
    key.public_ = key.private_;
  }
  if (key.public_ == nullptr) return wrong(spec, "neither a public nor a private key is given");
  if (key.private_ != nullptr && EVP_PKEY_eq(key.public_, key.private_) != 1)
    return wrong(spec, "the public and the private key do not belong together");
  return key;
}

bool Key::hmac(std::string_view text, unsigned char* out) const {
  EVP_MAC_CTX* context = cached_mac(serial_, secret_);
  std::size_t length = 0;
  return context != nullptr && EVP_MAC_init(context, nullptr, 0, nullptr) == 1 && EVP_MAC_update(context, bytes(text), text.size()) == 1 &&
         EVP_MAC_final(context, out, &length, kHmacBytes) == 1 && length == kHmacBytes;
}

std::uint32_t Key::check_microseconds() const {
  switch (algorithm_) {
    case JwtAlgorithm::HS256: return 2;
    case JwtAlgorithm::RS256: return static_cast<std::uint32_t>(15 * EVP_PKEY_get_bits(public_) / 2048 * EVP_PKEY_get_bits(public_) / 2048);
    case JwtAlgorithm::ES256: return 60;
    case JwtAlgorithm::EdDSA: return 90;
  }
  return 0;
}

bool Key::verify(std::string_view text, std::string_view signature) const {
  if (algorithm_ == JwtAlgorithm::HS256) {
    std::array<unsigned char, kHmacBytes> expected{};
    if (signature.size() != kHmacBytes || !hmac(text, expected.data())) return false;
    return CRYPTO_memcmp(expected.data(), signature.data(), kHmacBytes) == 0;
  }
  if (signature.size() > kMaxSignature) return false;
  std::string der;
  if (algorithm_ == JwtAlgorithm::ES256) {
    if (!raw_to_der(signature, der)) return false;
    signature = der;
  }
  const DigestContext context(EVP_MD_CTX_new());
  const bool good = context && EVP_DigestVerifyInit(context.get(), nullptr, digest_of(algorithm_), nullptr, public_) == 1 &&
                    EVP_DigestVerify(context.get(), bytes(signature), signature.size(), bytes(text), text.size()) == 1;
  if (!good) ERR_clear_error();  // else OpenSSL's queue of this thread would confuse a TLS connection of the same thread
  return good;
}

Result<std::string> Key::sign(std::string_view text) const {
  std::string signature(kMaxSignature, '\0');
  auto* out = reinterpret_cast<unsigned char*>(signature.data());
  std::size_t length = signature.size();
  if (algorithm_ == JwtAlgorithm::HS256) {
    if (!hmac(text, out)) return Error(ErrorCode::Internal, "OpenSSL failed to sign");
    signature.resize(kHmacBytes);
    return signature;
  }
  if (private_ == nullptr) return Error(ErrorCode::Config, "auth key " + id_ + " has no private key");
  const DigestContext context(EVP_MD_CTX_new());
  const bool good = context && EVP_DigestSignInit(context.get(), nullptr, digest_of(algorithm_), nullptr, private_) == 1 &&
                    EVP_DigestSign(context.get(), out, &length, bytes(text), text.size()) == 1;
  signature.resize(length);
  std::string raw;
  if (!good || (algorithm_ == JwtAlgorithm::ES256 && !der_to_raw(signature, raw))) {
    ERR_clear_error();
    return Error(ErrorCode::Internal, "OpenSSL failed to sign");
  }
  return algorithm_ == JwtAlgorithm::ES256 ? raw : signature;
}

}  // namespace dunlin::auth

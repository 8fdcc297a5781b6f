#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "session/auth/key_set.h"

typedef struct evp_pkey_st EVP_PKEY;  // OpenSSL's own spelling, so that this header needs none of its headers

namespace dunlin::auth {

// One key, pinned to its algorithm: it can check signatures of that algorithm only, so what a token's header says can never change
// how it is checked. Immutable, any thread. For HS256 each thread keeps a context with the key already scheduled, which makes a
// check cost about as much as the hash itself.
class Key {
 public:
  static Result<Key> create(const KeySpec& spec);
  ~Key();
  Key(Key&& other) noexcept;
  Key& operator=(Key&&) = delete;

  const std::string& id() const { return id_; }
  JwtAlgorithm algorithm() const { return algorithm_; }
  bool can_sign() const { return private_ != nullptr || algorithm_ == JwtAlgorithm::HS256; }

  // What verify() costs on a common machine, also when it says no: the hash of HS256 costs 2, RSA by the square of its size from 15 at 2048
  // bits on, ES256 60, EdDSA 90.
  std::uint32_t check_microseconds() const;

  // True if `signature` (raw bytes as in a JWS) is this key's over `text`. HMACs are compared in constant time.
  bool verify(std::string_view text, std::string_view signature) const;
  Result<std::string> sign(std::string_view text) const;

 private:
  Key(const KeySpec& spec, std::uint64_t serial);
  bool hmac(std::string_view text, unsigned char* out) const;

  std::string id_;
  JwtAlgorithm algorithm_;
  std::uint64_t serial_;  // never given twice: names this key in the threads' caches
  std::string secret_;
  EVP_PKEY* public_ = nullptr;
  EVP_PKEY* private_ = nullptr;
};

}  // namespace dunlin::auth

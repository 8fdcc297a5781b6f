#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace dunlin::auth {

enum class JwtAlgorithm : std::uint8_t { HS256, RS256, ES256, EdDSA };

std::string_view algorithm_name(JwtAlgorithm algorithm);
std::optional<JwtAlgorithm> parse_algorithm(std::string_view name);  // exact: "HS256", never "hs256" or "none"; "Ed25519" is EdDSA

// One configured key with its material already read from its file. Asymmetric keys are PEM; a private key alone is enough, its
// public half is taken from it.
struct KeySpec {
  std::string id;
  JwtAlgorithm algorithm = JwtAlgorithm::HS256;
  std::string secret;       // HS256: any bytes, at least one
  std::string public_pem;   // RS256 (2048 bits or more), ES256 (P-256), EdDSA (Ed25519)
  std::string private_pem;  // only for `dunlin token`
};

class Key;

// The keys that are accepted at one time, each pinned to its algorithm. Immutable; made at start and at each reload, shared by the
// threads that verify with it (shared_ptr: a verification in flight keeps the set it began with). At most kMaxKeys, ids unique.
class KeySet {
 public:
  static constexpr std::size_t kMaxKeys = 16;

  static Result<std::shared_ptr<const KeySet>> create(std::span<const KeySpec> specs);
  ~KeySet();
  KeySet(const KeySet&) = delete;
  KeySet& operator=(const KeySet&) = delete;

  // The key `kid` names, nullptr if there is none.
  const Key* find(std::string_view kid) const;
  const std::vector<std::unique_ptr<Key>>& keys() const { return keys_; }

 private:
  KeySet();
  std::vector<std::unique_ptr<Key>> keys_;
};

}  // namespace dunlin::auth

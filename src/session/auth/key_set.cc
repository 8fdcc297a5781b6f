#include "session/auth/key_set.h"

#include <array>
#include <utility>

#include "session/auth/key.h"

namespace dunlin::auth {
namespace {

constexpr std::array<std::pair<JwtAlgorithm, std::string_view>, 4> kNames = {{
    {JwtAlgorithm::HS256, "HS256"},
    {JwtAlgorithm::RS256, "RS256"},
    {JwtAlgorithm::ES256, "ES256"},
    {JwtAlgorithm::EdDSA, "EdDSA"},
}};

}  // namespace

std::string_view algorithm_name(JwtAlgorithm algorithm) {
  return kNames[static_cast<std::size_t>(algorithm)].second;
}

std::optional<JwtAlgorithm> parse_algorithm(std::string_view name) {
  for (const auto& [algorithm, text] : kNames) {
    if (text == name) return algorithm;
  }
  if (name == "Ed25519") return JwtAlgorithm::EdDSA;  // RFC 9864; the keys that EdDSA takes here are Ed25519 keys
  return std::nullopt;
}

KeySet::KeySet() = default;
KeySet::~KeySet() = default;

Result<std::shared_ptr<const KeySet>> KeySet::create(std::span<const KeySpec> specs) {
  if (specs.empty() || specs.size() > kMaxKeys) return Error(ErrorCode::Config, "there must be 1 to 16 auth keys");
  const std::shared_ptr<KeySet> set(new KeySet);
  for (const KeySpec& spec : specs) {
    if (set->find(spec.id) != nullptr) return Error(ErrorCode::Config, "two auth keys have the id " + spec.id);
    TRY_ASSIGN(Key key, Key::create(spec));
    set->keys_.push_back(std::make_unique<Key>(std::move(key)));
  }
  return std::shared_ptr<const KeySet>(set);
}

const Key* KeySet::find(std::string_view kid) const {
  for (const auto& key : keys_) {
    if (key->id() == kid) return key.get();
  }
  return nullptr;
}

}  // namespace dunlin::auth

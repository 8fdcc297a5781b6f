#include "base/siphash.h"

#include <sys/random.h>

#include <bit>
#include <cstring>

#include "base/check.h"

namespace dunlin {
namespace {

struct State {
  std::uint64_t v0, v1, v2, v3;

  State(const SipKey& key, bool wide)
      : v0(0x736f6d6570736575ULL ^ key.low),
        v1(0x646f72616e646f6dULL ^ key.high ^ (wide ? 0xee : 0)),
        v2(0x6c7967656e657261ULL ^ key.low),
        v3(0x7465646279746573ULL ^ key.high) {}

  void round() {
    v0 += v1;
    v1 = std::rotl(v1, 13) ^ v0;
    v0 = std::rotl(v0, 32);
    v2 += v3;
    v3 = std::rotl(v3, 16) ^ v2;
    v0 += v3;
    v3 = std::rotl(v3, 21) ^ v0;
    v2 += v1;
    v1 = std::rotl(v1, 17) ^ v2;
    v2 = std::rotl(v2, 32);
  }
  void take(std::uint64_t word) {
    v3 ^= word;
    round();
    round();
    v0 ^= word;
  }
  std::uint64_t finish(std::uint64_t& mark_word, std::uint64_t mark) {
    mark_word ^= mark;
    for (int i = 0; i < 4; ++i) round();
    return v0 ^ v1 ^ v2 ^ v3;
  }
};

void absorb(State& state, std::string_view bytes) {
  const char* at = bytes.data();
  std::size_t left = bytes.size();
  for (; left >= 8; at += 8, left -= 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, at, 8);
    state.take(word);
  }
  std::uint64_t last = std::uint64_t{bytes.size()} << 56;
  for (std::size_t i = 0; i < left; ++i) last |= std::uint64_t{static_cast<unsigned char>(at[i])} << (8 * i);
  state.take(last);
}

}  // namespace

static_assert(std::endian::native == std::endian::little);

SipKey SipKey::random() {
  SipKey key;
  CHECK(getrandom(&key, sizeof(key), 0) == static_cast<ssize_t>(sizeof(key)));
  return key;
}

std::uint64_t siphash64(const SipKey& key, std::string_view bytes) {
  State state(key, false);
  absorb(state, bytes);
  return state.finish(state.v2, 0xff);
}

SipHash128 siphash128(const SipKey& key, std::string_view bytes) {
  State state(key, true);
  absorb(state, bytes);
  SipHash128 out;
  out.low = state.finish(state.v2, 0xee);
  out.high = state.finish(state.v1, 0xdd);
  return out;
}

}  // namespace dunlin

#include "base/siphash.h"

#include <gtest/gtest.h>

#include <string>

namespace dunlin {
namespace {

// The paper's key and messages: key bytes 00..0f, message bytes 00, 00 01, 00 01 02, …
const SipKey kKey{0x0706050403020100ULL, 0x0f0e0d0c0b0a0908ULL};

std::string counting(std::size_t size) {
  std::string out;
  for (std::size_t i = 0; i < size; ++i) out.push_back(static_cast<char>(i));
  return out;
}

TEST(SipHashTest, GivesThePublishedVectorsWith64Bits) {
  EXPECT_EQ(siphash64(kKey, counting(0)), 0x726fdb47dd0e0e31ULL);
  EXPECT_EQ(siphash64(kKey, counting(8)), 0x93f5f5799a932462ULL);
  EXPECT_EQ(siphash64(kKey, counting(15)), 0xa129ca6149be45e5ULL);
}

TEST(SipHashTest, GivesThePublishedVectorWith128Bits) {
  const SipHash128 empty = siphash128(kKey, "");
  EXPECT_EQ(empty.low, 0xe6a825ba047f81a3ULL);
  EXPECT_EQ(empty.high, 0x930255c71472f66dULL);
}

TEST(SipHashTest, DependsOnKeyAndOnEveryByte) {
  const std::string text = counting(21);
  for (std::size_t i = 0; i < text.size(); ++i) {
    std::string other = text;
    other[i] = static_cast<char>(other[i] ^ 1);
    EXPECT_NE(siphash64(kKey, text), siphash64(kKey, other));
  }
  EXPECT_NE(siphash64(kKey, text), siphash64(SipKey{kKey.low ^ 1, kKey.high}, text));
}

}  // namespace
}  // namespace dunlin

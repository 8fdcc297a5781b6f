#include "session/auth/base64url.h"

#include <gtest/gtest.h>

#include <random>

namespace dunlin::auth {
namespace {

TEST(Base64UrlTest, KnownPairsBothWays) {
  const std::pair<std::string, std::string> pairs[] = {
      {"", ""},           {"f", "Zg"},          {"fo", "Zm8"},          {"foo", "Zm9v"},
      {"foob", "Zm9vYg"}, {"fooba", "Zm9vYmE"}, {"foobar", "Zm9vYmFy"}, {"\xfb\xff", "-_8"}};
  for (const auto& [bytes, text] : pairs) {
    EXPECT_EQ(encode_base64url(bytes), text);
    std::string out;
    EXPECT_TRUE(decode_base64url(text, out)) << text;
    EXPECT_EQ(out, bytes);
  }
}

TEST(Base64UrlTest, RefusesEverythingThatIsNotTheOneText) {
  std::string out;
  for (const char* text : {"Z", "Zg=", "Zg==", "Zh", "Zm9", "Zm9v Zg", "Zm9v\n", "+_8", "/_8", "Zm9vZ", "\xc3\xa9zz"}) {
    EXPECT_FALSE(decode_base64url(text, out)) << text;
  }
}

TEST(Base64UrlTest, AnyBytesComeBack) {
  std::mt19937 random(7);
  for (int round = 0; round < 500; ++round) {
    std::string bytes(random() % 70, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    std::string out;
    ASSERT_TRUE(decode_base64url(encode_base64url(bytes), out));
    EXPECT_EQ(out, bytes);
  }
}

}  // namespace
}  // namespace dunlin::auth

#include "bench/load/token.h"

#include <gtest/gtest.h>

namespace dunlin::bench {
namespace {

TEST(MintToken, HeaderNamesTheKeyAndUserAndSecretDecideTheRest) {
  const std::string token = mint_token("secret", "main", "alice");
  // {"alg":"HS256","typ":"JWT","kid":"main"}
  EXPECT_TRUE(token.starts_with("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6Im1haW4ifQ."));
  EXPECT_EQ(std::count(token.begin(), token.end(), '.'), 2);
  EXPECT_EQ(token.size() - token.rfind('.') - 1, 43u);  // 32 bytes without padding
  EXPECT_NE(token.substr(token.rfind('.')), mint_token("other", "main", "alice").substr(token.rfind('.')));
  EXPECT_NE(token, mint_token("secret", "main", "bob"));
}

}  // namespace
}  // namespace dunlin::bench

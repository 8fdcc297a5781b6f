#include "messaging/model/session_key.h"

#include <gtest/gtest.h>

namespace dunlin {
namespace {

TEST(SessionKeyTest, RoundTripsThroughText) {
  for (int i = 0; i < 1000; ++i) {
    const SessionKey key = SessionKey::random();
    const std::string text = key.text();
    ASSERT_EQ(text.size(), SessionKey::kTextBytes);
    ASSERT_EQ(text.find('-'), std::string::npos);
    ASSERT_EQ(SessionKey::parse(text), key);
  }
}

TEST(SessionKeyTest, RefusesTextThatNoKeyHas) {
  const std::string text = SessionKey{1, 2}.text();
  EXPECT_FALSE(SessionKey::parse(text.substr(1)));
  EXPECT_FALSE(SessionKey::parse(text + "A"));
  EXPECT_FALSE(SessionKey::parse("Q" + text.substr(1)));  // 16 << 60 does not fit
  EXPECT_FALSE(SessionKey::parse("-" + text.substr(1)));
}

TEST(NumberedMsgIdTest, ReadsSessionAndNumber) {
  const SessionKey key{7, 9};
  const auto id = NumberedMsgId::parse(key.text() + "-42");
  ASSERT_TRUE(id);
  EXPECT_EQ(id->session, key);
  EXPECT_EQ(id->number, 42u);
}

TEST(NumberedMsgIdTest, RefusesOtherForms) {
  const std::string key = SessionKey{7, 9}.text();
  for (const char* tail : {"", "-", "-0", "-01", "-x", "-1x", "--1", "+1", "-9223372036854775808", "-99999999999999999999"}) {
    EXPECT_FALSE(NumberedMsgId::parse(key + tail)) << tail;
  }
  EXPECT_FALSE(NumberedMsgId::parse("x1"));
}

}  // namespace
}  // namespace dunlin

#include "codec/utf8.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

#include "base/escape.h"

namespace dunlin {
namespace {

bool valid_at_once(std::string_view text) {
  Utf8Validator validator;
  return validator.feed(text) && validator.complete();
}
bool valid_in_pieces(std::string_view text, std::size_t cut) {
  Utf8Validator validator;
  return validator.feed(text.substr(0, cut)) && validator.feed(text.substr(cut)) && validator.complete();
}

TEST(Utf8ValidatorTest, AgreesWithTheTableOfEdgeCases) {
  const struct {
    std::string_view text;
    bool valid;
  } cases[] = {
      {"", true},
      {"plain ascii, longer than sixteen bytes", true},
      {"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5", true},
      {"\xf0\x9f\x90\xa6 flies", true},
      {"\xf4\x8f\xbf\xbf", true},
      {"\xf4\x90\x80\x80", false},         // above U+10FFFF
      {"\xed\xa0\x80", false},             // surrogate
      {"\xed\x9f\xbf\xee\x80\x80", true},  // on both sides of the surrogates
      {"\xc0\x80", false},                 // overlong
      {"\xc1\xbf", false},
      {"\xe0\x80\x80", false},
      {"\xe0\xa0\x80", true},
      {"\xf0\x80\x80\x80", false},
      {"\xf0\x90\x80\x80", true},
      {"\x80", false},
      {"\xfe", false},
      {"\xff", false},
      {"\xf8\x88\x80\x80\x80", false},
      {"\xce", false},  // cut
      {"\xf0\x9f\x90", false},
      {"sixteen ascii by\xff", false},
  };
  for (const auto& one : cases) {
    EXPECT_EQ(valid_at_once(one.text), one.valid) << one.text;
    for (std::size_t cut = 0; cut <= one.text.size(); ++cut)
      EXPECT_EQ(valid_in_pieces(one.text, cut), one.valid) << one.text << " at " << cut;
  }
}

TEST(Utf8ValidatorTest, FailsAtTheFirstByteThatCannotContinue) {
  Utf8Validator validator;
  EXPECT_TRUE(validator.feed("\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4"));
  EXPECT_FALSE(validator.feed("\x90")) << "not only at the end of the character";
}

TEST(Utf8ValidatorTest, AgreesWithTheSlowCheckOnRandomBytes) {
  std::mt19937 random(11);
  const std::string alphabet("a\x7f\x80\xbf\xc2\xdf\xe0\xa0\xed\x9f\xf0\x90\xf4\x8f\xc0\xff");
  for (int round = 0; round < 200000; ++round) {
    std::string text;
    for (unsigned i = random() % 8; i > 0; --i) text += alphabet[random() % alphabet.size()];
    ASSERT_EQ(valid_at_once(text), is_valid_utf8(text)) << testing::PrintToString(text);
  }
}

}  // namespace
}  // namespace dunlin

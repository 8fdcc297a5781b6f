#include "base/escape.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace dunlin {
namespace {

using std::string_view_literals::operator""sv;

std::string logged(std::string_view value) {
  std::string out;
  append_log_value(out, value);
  return out;
}

TEST(LogValueTest, LeavesPlainTextBare) {
  EXPECT_EQ(logged("alice-1"), "alice-1");
}

TEST(LogValueTest, QuotesWhatCouldForgeALineOrAField) {
  EXPECT_EQ(logged(""), "\"\"");
  EXPECT_EQ(logged("a b"), "\"a b\"");
  EXPECT_EQ(logged("x=1"), "\"x=1\"");
  EXPECT_EQ(logged("a\r\nERROR net: forged"), "\"a\\r\\nERROR net: forged\"");
  EXPECT_EQ(logged("\x1b[31m"), "\"\\x1b[31m\"");
  EXPECT_EQ(logged("\xc2\x9b"), "\"\\xc2\\x9b\"");  // C1 control: CSI
  EXPECT_EQ(logged("a\"b\\c"), "\"a\\\"b\\\\c\"");
  EXPECT_EQ(logged("\0"sv), "\"\\x00\"");
}

TEST(LogValueTest, KeepsValidUtf8AndEscapesTheRest) {
  EXPECT_EQ(logged("日本"), "\"日本\"");
  EXPECT_EQ(logged("\xff\xc3"), "\"\\xff\\xc3\"");
}

TEST(LogValueTest, CutsLongValues) {
  const std::string text = logged(std::string(10000, 'x'));
  EXPECT_LT(text.size(), 600u);
  EXPECT_TRUE(text.ends_with("..."));
}

TEST(Utf8Test, AcceptsEveryLengthAndRefusesMalformedForms) {
  for (const auto good : {""sv, "a"sv, "\xc2\x80"sv, "\xdf\xbf"sv, "\xe0\xa0\x80"sv, "\xed\x9f\xbf"sv, "\xef\xbf\xbf"sv,
                          "\xf0\x90\x80\x80"sv, "\xf4\x8f\xbf\xbf"sv}) {
    EXPECT_TRUE(is_valid_utf8(good));
  }
  for (const auto bad : {"\x80"sv, "\xc0\x80"sv, "\xc1\xbf"sv, "\xc2"sv, "\xe0\x9f\xbf"sv, "\xed\xa0\x80"sv, "\xe1\x80"sv,
                         "\xf0\x8f\xbf\xbf"sv, "\xf4\x90\x80\x80"sv, "\xf5\x80\x80\x80"sv, "a\xff"sv}) {
    EXPECT_FALSE(is_valid_utf8(bad));
  }
}

TEST(ValidIdTest, BoundsLengthAndRefusesControls) {
  EXPECT_TRUE(is_valid_id("a"));
  EXPECT_TRUE(is_valid_id(std::string(64, 'x')));
  EXPECT_FALSE(is_valid_id(""));
  EXPECT_FALSE(is_valid_id(std::string(65, 'x')));
  EXPECT_FALSE(is_valid_id("a\nb"));
  EXPECT_FALSE(is_valid_id("a\x7f"));
  EXPECT_FALSE(is_valid_id("\xff"));
}

}  // namespace
}  // namespace dunlin

#include "wire/json_text.h"

#include <gtest/gtest.h>

#include <string>

namespace dunlin::wire {
namespace {

// The text afterwards, or "!" and the problem.
std::string check(std::string text, std::uint32_t depth = 64) {
  JsonTextEnd result;
  if (!is_json_text(text.data(), text.data() + text.size(), depth, result)) return std::string("!") + result.problem;
  return text;
}

TEST(JsonTextTest, AcceptsEachKindOfValue) {
  for (const char* text :
       {"null", "true", "false", "0", "-0", "12", "-12.5e+3", "1E9", "1e999", "123456789012345678901234567890", "\"\"",
        "\"a\\u00e9\\ud83d\\n\\\\\\/\"", "[]", "{}", "[1,[2,[]],{}]", R"({"a":{"b":[1,2,{"c":null}]},"d":""})", " [ 1 , 2 ] "}) {
    EXPECT_EQ(check(text), text);
  }
}

TEST(JsonTextTest, RefusesWhatIsNoJson) {
  for (const char* text :
       {"",     " ",     "nul", "True",      "01",          "-",        "1.",        ".5",         "1e",       "+1",     "0x1",
        "NaN",  "'a'",   "\"",  "\"\\x\"",   "\"\\u12g4\"", "\"\\",     "[",         "]",          "[1",       "[1,",    "[1,]",
        "[,1]", "[1 2]", "{",   "{\"a\"",    "{\"a\":",     "{\"a\":1", "{\"a\":1,", "{\"a\":1,}", "{a:1}",    "{1:1}",  "{\"a\" 1}",
        "[}",   "{]",    "[1}", "{\"a\":1]", "1 2",         "[] []",    "nullx",     "\"a\nb\"",   "\"a\tb\"", "//c\n1", "[\"a\" \"b\"]"}) {
    EXPECT_EQ(check(text)[0], '!') << text;
  }
}

TEST(JsonTextTest, LineBreaksBetweenTokensBecomeSpaces) {
  EXPECT_EQ(check("\n[\r\n1,\n{\"a\"\n:\n2\r}\n]\n"), " [  1, {\"a\" : 2 } ] ");
  EXPECT_EQ(check("\"a\\nb\""), "\"a\\nb\"");
}

TEST(JsonTextTest, DepthHasALimitAtEachForm) {
  for (std::uint32_t limit : {1U, 5U, 64U}) {
    EXPECT_NE(check(std::string(limit, '[') + std::string(limit, ']'), limit)[0], '!');
    EXPECT_EQ(check(std::string(limit + 1, '[') + std::string(limit + 1, ']'), limit), "!nested too deeply");
  }
  std::string objects;
  for (int i = 0; i < 70; ++i) objects += "{\"a\":";
  EXPECT_EQ(check(objects), "!nested too deeply");
}

TEST(JsonTextTest, EveryPrefixOfAValueIsRefused) {
  const std::string text = R"({"a":[1.5,true,"x\u0041y"],"b":{"c":null,"long enough for eight bytes at once":"\\"}})";
  ASSERT_EQ(check(text), text);
  for (std::size_t size = 0; size < text.size(); ++size) EXPECT_EQ(check(text.substr(0, size))[0], '!') << size;
}

TEST(JsonTextTest, ControlCharactersInStringsAreFoundAtEachOffset) {
  for (std::size_t at = 0; at < 20; ++at) {
    for (char c : {'\0', '\x1f', '\n'}) {
      std::string text = "\"" + std::string(20, 'x') + "\"";
      text[1 + at] = c;
      EXPECT_EQ(check(text)[0], '!');
      text[1 + at] = '\x7f';
      EXPECT_NE(check(text)[0], '!');
    }
  }
}

// S11: the reader looks at each byte once, so a megabyte of the worst kinds is a few milliseconds of work. Asserted is the linearity
// (one pass ends at the end or at the limit), not the clock.
TEST(JsonTextTest, AMegabyteOfTheWorstKindsIsOnePass) {
  const std::size_t size = 1U << 20;
  std::string wide = "[";
  while (wide.size() < size) wide += "1,";
  wide.back() = ']';
  EXPECT_NE(check(wide)[0], '!');
  EXPECT_EQ(check(std::string(size, '[')), "!nested too deeply");
  EXPECT_EQ(check("\"" + std::string(size, '\\')), "!a string does not end");
  EXPECT_NE(check(std::string(size, '9'))[0], '!');
}

TEST(JsonTextTest, ContentTypesOfJson) {
  for (const char* type : {"", "application/json", "application/json; charset=utf-8", "application/vnd.a+json", "x/y+json ;a=b"}) {
    EXPECT_TRUE(is_json_content_type(type)) << type;
  }
  for (const char* type : {"text/plain", "application/jsonx", "application/octet-stream", "a+jsonx"})
    EXPECT_FALSE(is_json_content_type(type)) << type;
}

}  // namespace
}  // namespace dunlin::wire

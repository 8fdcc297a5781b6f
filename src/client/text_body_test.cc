#include "client/text_body.h"

#include <gtest/gtest.h>

namespace dunlin::client {
namespace {

TEST(TextBody, TextComesBackWhateverItHolds) {
  for (const std::string text : {"", "hi", "a \"quoted\" \\ back", "tab\tand\nbreak", "\xc3\xa9\xf0\x9f\x90\xa6", "\x01\x1b[2J"}) {
    const std::string body = text_body(text);
    EXPECT_EQ(body.find('\n'), std::string::npos);
    EXPECT_EQ(text_of_body(body), text) << body;
  }
}

TEST(TextBody, BytesThatAreNoUtf8AreReplaced) {
  EXPECT_EQ(text_body("a\xff z\xc3"), "{\"text\":\"a\xef\xbf\xbd z\xef\xbf\xbd\"}");
}

TEST(TextOfBody, OtherBodiesHaveNone) {
  EXPECT_FALSE(text_of_body("[1,2]"));
  EXPECT_FALSE(text_of_body("\"text\""));
  EXPECT_FALSE(text_of_body(R"({"text":7})"));
  EXPECT_FALSE(text_of_body(R"({"other":"x"})"));
}

TEST(UnescapeJson, EscapesAndSurrogatePairsAreResolved) {
  EXPECT_EQ(unescape_json(R"(a\n\"\/\\b)"), "a\n\"/\\b");
  EXPECT_EQ(unescape_json(R"(\u0041\u00e9\u20ac)"), "A\xc3\xa9\xe2\x82\xac");
  EXPECT_EQ(unescape_json(R"(\ud83d\udc26)"), "\xf0\x9f\x90\xa6");
}

TEST(UnescapeJson, LoneSurrogateAndCutEscapeAreReplaced) {
  EXPECT_EQ(unescape_json(R"(\ud83dx)"), "\xef\xbf\xbdx");
  EXPECT_EQ(unescape_json(R"(\udc26)"), "\xef\xbf\xbd");
  EXPECT_EQ(unescape_json(R"(\u12)"), "\xef\xbf\xbd");
  EXPECT_EQ(unescape_json("\\"), "\\");
}

TEST(Printable, NothingMovesTheCursorOrEndsTheLine) {
  EXPECT_EQ(printable("a\x1b[2Jb\nc\x7f"), "a [2Jb c ");
  EXPECT_EQ(printable("\xc2\x9b"
                      "31m"),
            " 31m");
  EXPECT_EQ(printable("\xff"), "\xef\xbf\xbd");
  EXPECT_EQ(printable("gr\xc3\xbc\xc3\x9f"), "gr\xc3\xbc\xc3\x9f");
}

}  // namespace
}  // namespace dunlin::client

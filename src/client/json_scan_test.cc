#include "client/json_scan.h"

#include <gtest/gtest.h>

#include <string>

namespace dunlin::client {
namespace {

TEST(ScanPacket, ReplyHasIdKindAndContent) {
  const auto packet = scan_packet(R"({"id":12,"send":{"conversation":"p:a:b","seq":7,"duplicate":false}})");
  ASSERT_TRUE(packet);
  EXPECT_EQ(packet->id, 12u);
  EXPECT_EQ(packet->kind, "send");
  EXPECT_EQ(as_number(*member(packet->content, "seq")), 7u);
  EXPECT_EQ(as_raw_string(*member(packet->content, "conversation")), "p:a:b");
  EXPECT_EQ(*member(packet->content, "duplicate"), "false");
}

TEST(ScanPacket, OrderOfMembersAndSpacesDoNotMatter) {
  const auto packet = scan_packet(" { \"error\" : { \"code\" : 4510 } , \"id\" : 3 } ");
  ASSERT_TRUE(packet);
  EXPECT_EQ(packet->id, 3u);
  EXPECT_EQ(packet->kind, "error");
  EXPECT_EQ(as_number(*member(packet->content, "code")), 4510u);
}

TEST(ScanPacket, BracesAndQuotesInsideStringsAreNoStructure) {
  const auto packet = scan_packet(R"({"message":{"body":{"text":"}]\"{,\\"},"seq":9}})");
  ASSERT_TRUE(packet);
  EXPECT_FALSE(packet->id);
  EXPECT_EQ(*member(packet->content, "body"), R"({"text":"}]\"{,\\"})");
  EXPECT_EQ(as_number(*member(packet->content, "seq")), 9u);
}

TEST(ScanPacket, EveryPrefixOfAPacketIsRefusedWithoutReadingPastIt) {
  const std::string whole = R"({"id":1,"connect":{"session":"a\"b","list":[1,{"x":[]}],"n":null}})";
  ASSERT_TRUE(scan_packet(whole));
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const std::string prefix = whole.substr(0, size);
    EXPECT_FALSE(scan_packet(prefix)) << prefix;
  }
}

TEST(ScanPacket, EmptyObjectIsNoPacket) {
  EXPECT_FALSE(scan_packet("{}"));
  EXPECT_FALSE(scan_packet("[]"));
  EXPECT_FALSE(scan_packet(R"({"id":1})"));
}

TEST(AsNumber, RefusesWhatIsNotAWholeNumber) {
  EXPECT_FALSE(as_number("1.5"));
  EXPECT_FALSE(as_number("-1"));
  EXPECT_FALSE(as_number("\"1\""));
  EXPECT_FALSE(as_number(""));
}

}  // namespace
}  // namespace dunlin::client

#include "net/address.h"

#include <gtest/gtest.h>

namespace dunlin {
namespace {

IpAddress ip(std::string_view text) {
  return IpAddress::parse(text).value();
}

TEST(IpAddressTest, ParsesAndPrintsBothFamilies) {
  EXPECT_EQ(ip("192.0.2.7").to_string(), "192.0.2.7");
  EXPECT_EQ(ip("2001:db8::1").to_string(), "2001:db8::1");
  EXPECT_EQ(ip("::ffff:192.0.2.7"), ip("192.0.2.7"));
  EXPECT_TRUE(ip("127.3.2.1").is_loopback());
  EXPECT_TRUE(ip("::1").is_loopback());
  EXPECT_FALSE(ip("::2").is_loopback());
  for (const char* bad : {"", "1.2.3", "host", "1.2.3.4.5", "[::1]"}) EXPECT_FALSE(IpAddress::parse(bad).ok()) << bad;
}

TEST(IpAddressTest, LimitsCountIpv6ByItsNetwork) {
  EXPECT_EQ(ip("2001:db8:0:1::5").limit_key(), ip("2001:db8:0:1:ffff::9").limit_key());
  EXPECT_NE(ip("2001:db8:0:1::5").limit_key(), ip("2001:db8:0:2::5").limit_key());
  EXPECT_EQ(ip("192.0.2.7").limit_key(), ip("192.0.2.7"));
}

TEST(EndpointTest, ParsesTheFormsOfTheConfiguration) {
  EXPECT_EQ(Endpoint::parse("127.0.0.1:80").value().to_string(), "127.0.0.1:80");
  EXPECT_EQ(Endpoint::parse("[::1]:80").value().to_string(), "[::1]:80");
  EXPECT_EQ(Endpoint::parse("localhost:0").value().to_string(), "127.0.0.1:0");
  EXPECT_EQ(Endpoint::parse(":8080").value().to_string(), "0.0.0.0:8080");
  EXPECT_EQ(Endpoint::parse("8080").value().to_string(), "0.0.0.0:8080");
  for (const char* bad : {"", "::1:80", "1.2.3.4:70000", "1.2.3.4:", "x:1"}) EXPECT_FALSE(Endpoint::parse(bad).ok()) << bad;
}

TEST(CidrTest, ContainsItsBlockAndNothingElse) {
  EXPECT_TRUE(Cidr::parse("10.0.0.0/8").value().contains(ip("10.255.0.1")));
  EXPECT_FALSE(Cidr::parse("10.0.0.0/8").value().contains(ip("11.0.0.1")));
  EXPECT_TRUE(Cidr::parse("192.0.2.7").value().contains(ip("192.0.2.7")));
  EXPECT_FALSE(Cidr::parse("192.0.2.7").value().contains(ip("192.0.2.6")));
  EXPECT_TRUE(Cidr::parse("172.16.0.0/12").value().contains(ip("172.31.255.255")));
  EXPECT_FALSE(Cidr::parse("172.16.0.0/12").value().contains(ip("172.32.0.0")));
  EXPECT_TRUE(Cidr::parse("fd00::/8").value().contains(ip("fdff::1")));
  EXPECT_TRUE(Cidr::parse("0.0.0.0/0").value().contains(ip("8.8.8.8")));
  EXPECT_FALSE(Cidr::parse("0.0.0.0/0").value().contains(ip("2001:db8::1")));
  for (const char* bad : {"10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/x", "x/8", "::/129"}) EXPECT_FALSE(Cidr::parse(bad).ok()) << bad;
}

}  // namespace
}  // namespace dunlin

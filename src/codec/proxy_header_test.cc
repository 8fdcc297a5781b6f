#include "codec/proxy_header.h"

#include <gtest/gtest.h>

#include <string>

namespace dunlin {
namespace {

using Type = ProxyParse::Type;

const std::string kV2Signature("\r\n\r\n\0\r\nQUIT\n", 12);
std::string v2(char command, char family, const std::string& body) {
  return kV2Signature + command + family + std::string{static_cast<char>(body.size() >> 8), static_cast<char>(body.size() & 0xff)} + body;
}
const std::string kV4Body("\xc0\x00\x02\x07\x0a\x00\x00\x01\x12\x34\x01\xbb", 12);

TEST(ProxyHeaderTest, ReadsVersionOne) {
  const std::string line = "PROXY TCP4 192.0.2.7 10.0.0.1 4660 443\r\n";
  ProxyHeader header;
  for (std::size_t size = 0; size < line.size(); ++size) {
    ASSERT_EQ(parse_proxy_header(line.substr(0, size), header).type, Type::NeedMore) << size;
  }
  const ProxyParse parse = parse_proxy_header(line + "GET", header);
  EXPECT_EQ(parse.type, Type::Complete);
  EXPECT_EQ(parse.consumed, line.size());
  EXPECT_EQ(header.source_port, 4660);
  EXPECT_EQ(header.source_ip[12], 192);
  EXPECT_EQ(header.source_ip[15], 7);
  EXPECT_EQ(parse_proxy_header("PROXY TCP6 2001:db8::1 ::1 1 2\r\n", header).type, Type::Complete);
  EXPECT_EQ(header.source_ip[0], 0x20);
  EXPECT_EQ(parse_proxy_header("PROXY UNKNOWN\r\n", header).type, Type::Complete);
  EXPECT_TRUE(header.local);
}

TEST(ProxyHeaderTest, ReadsVersionTwo) {
  const std::string bytes = v2('\x21', '\x11', kV4Body);
  ProxyHeader header;
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    ASSERT_EQ(parse_proxy_header(bytes.substr(0, size), header).type, Type::NeedMore) << size;
  }
  const ProxyParse parse = parse_proxy_header(bytes, header);
  EXPECT_EQ(parse.type, Type::Complete);
  EXPECT_EQ(parse.consumed, bytes.size());
  EXPECT_EQ(header.source_port, 0x1234);
  EXPECT_EQ(header.source_ip[12], 192);
  EXPECT_EQ(parse_proxy_header(v2('\x20', '\0', ""), header).type, Type::Complete);
  EXPECT_TRUE(header.local);
  EXPECT_EQ(parse_proxy_header(v2('\x21', '\x11', kV4Body + "tlv-bytes"), header).type, Type::Complete);
}

TEST(ProxyHeaderTest, RefusesEverythingElse) {
  ProxyHeader header;
  for (const std::string& bytes :
       {std::string("GET / HTTP/1.1\r\n"), std::string("PROXY TCP4 1.2.3 10.0.0.1 1 2\r\n"),
        std::string("PROXY TCP4 1.2.3.4 10.0.0.1 1 70000\r\n"), std::string("PROXY TCP5 1.2.3.4 10.0.0.1 1 2\r\n"),
        std::string("PROXY TCP4 ") + std::string(200, '1'), v2('\x31', '\x11', kV4Body), v2('\x22', '\x11', kV4Body),
        v2('\x21', '\x11', "short"), v2('\x21', '\x11', std::string(2000, 'x'))}) {
    EXPECT_EQ(parse_proxy_header(bytes, header).type, Type::Bad) << bytes;
  }
}

}  // namespace
}  // namespace dunlin

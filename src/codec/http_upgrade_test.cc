#include "codec/http_upgrade.h"

#include <gtest/gtest.h>

namespace dunlin {
namespace {

const std::string kGood =
    "GET /im?v=1 HTTP/1.1\r\nHost: chat.example\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nOrigin: https://a.example\r\n"
    "Sec-WebSocket-Protocol: x, dunlin.v1.json\r\nX-Forwarded-For: 1.2.3.4\r\nx-forwarded-for: 10.0.0.1\r\n\r\n";

std::string replaced(std::string text, std::string_view what, std::string_view with) {
  const auto at = text.find(what);
  EXPECT_NE(at, std::string::npos) << what;
  return text.replace(at, what.size(), with);
}

int status_of(const std::string& bytes, const UpgradeRules& rules = {.path = "/im"}) {
  HttpRequest request;
  const HttpParse parse = parse_http_request(bytes, request);
  if (parse.type == HttpParse::Type::NeedMore) return 0;
  if (parse.type == HttpParse::Type::Bad) return parse.status;
  return judge_upgrade(request, rules).status;
}

TEST(HttpUpgradeTest, TakesWhatTheUpgradeNeeds) {
  HttpRequest request;
  const std::string bytes = kGood + "frames";
  const HttpParse parse = parse_http_request(bytes, request);
  ASSERT_EQ(parse.type, HttpParse::Type::Complete);
  EXPECT_EQ(parse.consumed, kGood.size());
  EXPECT_EQ(request.path, "/im");
  EXPECT_EQ(request.query, "v=1");
  EXPECT_EQ(request.host, "chat.example");
  EXPECT_EQ(request.origin, "https://a.example");
  EXPECT_EQ(request.forwarded_for, "1.2.3.4,10.0.0.1");
  EXPECT_EQ(status_of(kGood), 101);
}

TEST(HttpUpgradeTest, EveryPrefixNeedsMore) {
  for (std::size_t size = 0; size < kGood.size(); ++size) {
    HttpRequest request;
    ASSERT_EQ(parse_http_request(kGood.substr(0, size), request).type, HttpParse::Type::NeedMore) << size;
  }
}

TEST(HttpUpgradeTest, RefusesWithTheRightStatus) {
  const struct {
    const char* what;
    std::string bytes;
    int status;
  } cases[] = {
      {"another path", replaced(kGood, "/im?", "/other?"), 404},
      {"another method", replaced(kGood, "GET", "POST"), 405},
      {"no upgrade", replaced(kGood, "Upgrade: WebSocket", "X: y"), 426},
      {"no connection", replaced(kGood, "keep-alive, Upgrade", "keep-alive"), 400},
      {"old version", replaced(kGood, "Version: 13", "Version: 8"), 426},
      {"short key", replaced(kGood, "dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZQ=="), 400},
      {"no key", replaced(kGood, "Sec-WebSocket-Key", "X-Key"), 400},
      {"HTTP/1.0", replaced(kGood, "HTTP/1.1", "HTTP/1.0"), 400},
      {"HTTP/2.0", replaced(kGood, "HTTP/1.1", "HTTP/2.0"), 505},
      {"no host", replaced(kGood, "Host:", "Hast:"), 400},
      {"two hosts", replaced(kGood, "Upgrade:", "Host: b\r\nUpgrade:"), 400},
      {"two keys", replaced(kGood, "Upgrade:", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nUpgrade:"), 400},
      {"space before colon", replaced(kGood, "Host:", "Host :"), 400},
      {"folded line", replaced(kGood, "Host: ", "Host: a\r\n "), 400},
      {"bare LF", replaced(kGood, "chat.example\r\n", "chat.example\n"), 400},
      {"bare CR", replaced(kGood, "chat.example", "chat\rexample"), 400},
      {"NUL", replaced(kGood, "chat.example", std::string_view("chat\0example", 12)), 400},
      {"body", replaced(kGood, "Host:", "Content-Length: 5\r\nHost:"), 400},
      {"chunked", replaced(kGood, "Host:", "Transfer-Encoding: chunked\r\nHost:"), 400},
      {"two spaces", replaced(kGood, "GET /im", "GET  /im"), 400},
      {"absolute target", replaced(kGood, "/im?", "http://x/im?"), 400},
      {"no headers at all", "GET /im HTTP/1.1\r\n\r\n", 400},
      {"not HTTP", "\x16\x03\x01\x02", 400},
      {"too large", "GET /im HTTP/1.1\r\nX: " + std::string(33'000, 'x'), 431},
  };
  for (const auto& one : cases) EXPECT_EQ(status_of(one.bytes), one.status) << one.what;
  std::string many = "GET /im HTTP/1.1\r\n";
  for (int i = 0; i < 65; ++i) many += "A: b\r\n";
  EXPECT_EQ(status_of(many + "\r\n"), 431);
  EXPECT_EQ(status_of(replaced(kGood, "/im?", "/any?"), {}), 101) << "an empty path allows all";
}

TEST(HttpUpgradeTest, TakesTheCookiesOfALargeSite) {
  for (const std::size_t size : {8'000, 20'000, 32'000}) {
    const std::string cookies = "Cookie: " + std::string(size, 'c') + "\r\nHost:";
    EXPECT_EQ(status_of(replaced(kGood, "Host:", cookies)), 101) << size;
  }
}

TEST(HttpUpgradeTest, IsWorthParsingOnceItsEndHasComeOrNeverWill) {
  const std::string header(kGood);
  for (std::size_t size = 1; size <= header.size(); ++size) {
    for (std::size_t looked = 0; looked < size; ++looked) {
      EXPECT_EQ(worth_parsing(header.substr(0, size), looked), size == header.size()) << size << " " << looked;
    }
  }
  EXPECT_FALSE(worth_parsing(std::string(kMaxHttpHeaderBytes - 1, 'x'), 1));
  EXPECT_TRUE(worth_parsing(std::string(kMaxHttpHeaderBytes, 'x'), kMaxHttpHeaderBytes - 1));
}

TEST(HttpUpgradeTest, ChecksTheOriginOnlyAgainstAList) {
  const std::vector<std::string> allowed{"https://b.example", "https://A.example"};
  const std::vector<std::string> others{"https://b.example"};
  EXPECT_EQ(status_of(kGood, {.path = "/im", .allowed_origins = &allowed}), 101);
  EXPECT_EQ(status_of(kGood, {.path = "/im", .allowed_origins = &others}), 403);
  EXPECT_EQ(status_of(replaced(kGood, "Origin:", "Orogin:"), {.path = "/im", .allowed_origins = &others}), 101);
}

TEST(HttpUpgradeTest, ChoosesTheFirstOfferedSubprotocolThatIsOurs) {
  const std::vector<std::string> ours{"dunlin.v1.protobuf", "dunlin.v1.json"};
  const std::vector<std::string> none{"other"};
  HttpRequest request;
  parse_http_request(kGood, request);
  EXPECT_EQ(judge_upgrade(request, {.subprotocols = &ours}).subprotocol, 1);
  EXPECT_EQ(judge_upgrade(request, {.subprotocols = &none}).status, 400);
  EXPECT_TRUE(judge_upgrade(request, {.subprotocols = &none}).bad_subprotocol);
  EXPECT_EQ(judge_upgrade(request, {}).subprotocol, -1);
  request.subprotocols.clear();
  EXPECT_EQ(judge_upgrade(request, {.subprotocols = &ours}).subprotocol, -1);
}

TEST(HttpUpgradeTest, AcceptsAsInTheExampleOfTheStandard) {
  EXPECT_EQ(ws_accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

TEST(HttpUpgradeTest, AClientReadsItsAnswer) {
  const std::string key = "dGhlIHNhbXBsZSBub25jZQ==";
  const std::string answer = upgrade_response(key, "dunlin.v1.json");
  for (std::size_t size = 0; size < answer.size(); ++size) {
    ASSERT_EQ(parse_upgrade_answer(answer.substr(0, size), key).type, UpgradeAnswer::Type::NeedMore);
  }
  const UpgradeAnswer parsed = parse_upgrade_answer(answer, key);
  EXPECT_EQ(parsed.type, UpgradeAnswer::Type::Accepted);
  EXPECT_EQ(parsed.consumed, answer.size());
  EXPECT_EQ(parsed.subprotocol, "dunlin.v1.json");
  EXPECT_EQ(parse_upgrade_answer(answer, "AAAAAAAAAAAAAAAAAAAAAA==").type, UpgradeAnswer::Type::Bad);
  const std::string refusal = http_refusal(503, "full", 7);
  const UpgradeAnswer refused = parse_upgrade_answer(refusal, key);
  EXPECT_EQ(refused.type, UpgradeAnswer::Type::Refused);
  EXPECT_EQ(refused.status, 503);
  EXPECT_EQ(refused.retry_after, "7");
  HttpRequest request;
  const std::string sent = upgrade_request("h", "/im", key, "dunlin.v1.json");
  EXPECT_EQ(parse_http_request(sent, request).type, HttpParse::Type::Complete);
  EXPECT_EQ(judge_upgrade(request, {.path = "/im"}).status, 101);
}

}  // namespace
}  // namespace dunlin

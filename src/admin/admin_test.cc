#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>

#include "admin/admin_server.h"
#include "admin/health.h"
#include "admin/json_text.h"
#include "admin/routes.h"
#include "admin/sd_notify.h"

namespace dunlin {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

TEST(HealthCheckTest, IsRedUntilTheFirstResult) {
  ManualClock clock;
  const HealthCheck check("store", Milliseconds(100), clock);
  EXPECT_FALSE(check.report().ok);
  EXPECT_EQ(check.report().detail, "not checked yet");
  EXPECT_EQ(check.report().age_ms, -1);
}

TEST(HealthCheckTest, TurnsRedByItselfWhenTheProberHangs) {
  ManualClock clock;
  HealthCheck check("store", Milliseconds(100), clock);
  check.passed();
  EXPECT_TRUE(check.report().ok);
  clock.advance(Milliseconds(100));
  EXPECT_TRUE(check.report().ok);
  clock.advance(Milliseconds(1));
  EXPECT_FALSE(check.report().ok);
  EXPECT_EQ(check.report().detail, "no result for 101 ms");
  check.passed();
  EXPECT_TRUE(check.report().ok);
}

TEST(HealthCheckTest, KeepsTheReasonOfTheFailure) {
  ManualClock clock;
  HealthCheck check("store", Milliseconds(100), clock);
  check.failed("disk full");
  EXPECT_EQ(check.report().detail, "disk full");
  clock.advance(Milliseconds(200));
  EXPECT_EQ(check.report().detail, "no result for 200 ms: disk full");
}

TEST(HealthTest, NamesTheFailedCheckInJson) {
  ManualClock clock;
  HealthCheck accept("accept", Milliseconds(100), clock);
  HealthCheck store("store", Milliseconds(100), clock);
  Health health;
  health.add(&accept);
  health.add(&store);
  accept.passed();
  store.failed("say \"no\"");
  EXPECT_FALSE(health.ready());
  EXPECT_EQ(health.summary().json,
            R"({"ready":false,"stopping":false,"failed":["store"],"checks":{"accept":{"ok":true,"detail":"","age_ms":0},)"
            R"("store":{"ok":false,"detail":"say \"no\"","age_ms":0}}})");
  store.passed();
  EXPECT_TRUE(health.ready());
  health.set_stopping();
  EXPECT_FALSE(health.ready());
  EXPECT_THAT(health.summary().json, StartsWith(R"({"ready":false,"stopping":true,"failed":[])"));
}

TEST(JsonTextTest, EscapesWhatJsonForbids) {
  EXPECT_EQ(json_text("a\"b\\c\n\x01"), "\"a\\\"b\\\\c\\u000a\\u0001\"");
  EXPECT_EQ(json_text("\xE7\x94\xA8"), "\"\xE7\x94\xA8\"");
  EXPECT_EQ(json_text("\xff"), "\"\xEF\xBF\xBD\"");
}

TEST(RouterTest, AnswersUnknownPathsAndMethodsWithTheirCodes) {
  Router router;
  router.add("GET", "/x", [](const AdminRequest& request) { return AdminResponse{200, "text/plain", request.query}; });
  EXPECT_EQ(router.handle({"GET", "/x", "q=1", ""}).body, "q=1");
  EXPECT_EQ(router.handle({"HEAD", "/x", "", ""}).status, 200U);
  EXPECT_EQ(router.handle({"POST", "/x", "", ""}).status, 405U);
  EXPECT_EQ(router.handle({"GET", "/x/", "", ""}).status, 404U);
  EXPECT_EQ(router.handle({"GET", "/../x", "", ""}).status, 404U);
}

ServerInfo test_info() {
  ServerInfo info;
  info.durability = "fsync";
  return info;
}

// A real server on a free port, spoken to over a plain socket.
class AdminServerTest : public ::testing::Test {
 protected:
  AdminServerTest() : check_("store", Milliseconds(100), clock_) { health_.add(&check_); }

  void start(AdminOptions options = {}) {
    options.listen = "127.0.0.1:0";
    AdminSources sources{&health_, &metrics_, &test_info, [this] { return alive_; }};
    server_ = std::make_unique<AdminServer>(options, make_admin_router(sources));
    const Status started = server_->start();
    ASSERT_TRUE(started.ok()) << started.error().context();
    port_ = static_cast<std::uint16_t>(std::stoi(server_->address().substr(server_->address().rfind(':') + 1)));
  }

  int dial() const {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port_);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    const timeval limit{10, 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    return fd;
  }

  static std::string read_all(int fd) {
    std::string answer;
    char buffer[4096];
    for (ssize_t n = 0; (n = recv(fd, buffer, sizeof buffer, 0)) > 0;) answer.append(buffer, static_cast<std::size_t>(n));
    close(fd);
    return answer;
  }

  std::string ask(const std::string& request) const {
    const int fd = dial();
    EXPECT_EQ(send(fd, request.data(), request.size(), MSG_NOSIGNAL), static_cast<ssize_t>(request.size()));
    return read_all(fd);
  }
  std::string get(const std::string& path) const { return ask("GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); }

  ManualClock clock_;
  HealthCheck check_;
  Health health_;
  ServerMetrics metrics_;
  bool alive_ = true;
  std::uint16_t port_ = 0;
  std::unique_ptr<AdminServer> server_;
};

TEST_F(AdminServerTest, ServesHealthInformationAndMetrics) {
  start();
  EXPECT_THAT(get("/livez"), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(get("/readyz"), StartsWith("HTTP/1.1 503 "));
  EXPECT_THAT(get("/readyz?verbose"), HasSubstr(R"("failed":["store"])"));
  check_.passed();
  EXPECT_THAT(get("/readyz"), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(get("/info"), HasSubstr(R"("store":{"engine":"","durability":"fsync"})"));
  const std::string metrics = get("/metrics");
  EXPECT_THAT(metrics, HasSubstr("Content-Type: text/plain; version=0.0.4"));
  EXPECT_THAT(metrics, HasSubstr("dunlin_health{check=\"store\"} 1\n"));
}

TEST_F(AdminServerTest, LivezIsRedWhenLoopsDoNotTurn) {
  start();
  alive_ = false;
  EXPECT_THAT(get("/livez"), StartsWith("HTTP/1.1 503 "));
}

TEST_F(AdminServerTest, RefusesUnknownMalformedAndOversized) {
  start();
  EXPECT_THAT(get("/"), StartsWith("HTTP/1.1 404 "));
  EXPECT_THAT(ask("POST /info HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"), StartsWith("HTTP/1.1 405 "));
  EXPECT_THAT(ask("nonsense\r\n\r\n"), StartsWith("HTTP/1.1 400 "));
  EXPECT_THAT(ask("GET /" + std::string(9000, 'a') + " HTTP/1.1\r\n\r\n"), StartsWith("HTTP/1.1 431 "));
  EXPECT_THAT(ask("POST /info HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n"), StartsWith("HTTP/1.1 413 "));
  EXPECT_THAT(get("/livez"), StartsWith("HTTP/1.1 200 "));
}

TEST_F(AdminServerTest, KeepsAConnectionForTheNextRequest) {
  start();
  const std::string answer = ask("GET /livez HTTP/1.1\r\nHost: x\r\n\r\nHEAD /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(answer, HasSubstr("{\"alive\":true}HTTP/1.1 200 OK"));
  EXPECT_TRUE(answer.ends_with("\r\n\r\n"));
}

TEST_F(AdminServerTest, ClosesWhoSendsNothing) {
  start({.request_deadline = Milliseconds(100)});
  const int idle = dial();
  EXPECT_EQ(read_all(idle), "");
}

TEST_F(AdminServerTest, AtTheBoundThoseWhoHaveAskedForNothingLongestMakeRoom) {
  start({.request_deadline = Milliseconds(60'000), .max_connections = 2});
  const std::string kept_alive = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n";
  std::array<char, 4096> answer{};
  const int regular = dial();
  const auto ask_again = [&] {
    EXPECT_EQ(send(regular, kept_alive.data(), kept_alive.size(), MSG_NOSIGNAL), static_cast<ssize_t>(kept_alive.size()));
    EXPECT_GT(recv(regular, answer.data(), answer.size(), 0), 0);
  };
  ask_again();
  for (int i = 0; i < 300; ++i) {
    const int idle = dial();
    ask_again();  // may be read before the idle one is accepted
    ask_again();
    EXPECT_THAT(get("/livez"), StartsWith("HTTP/1.1 200 "));  // in place of the idle one
    EXPECT_EQ(read_all(idle), "");
    ASSERT_FALSE(HasFailure()) << "round " << i;
  }
  close(regular);
}

TEST_F(AdminServerTest, StopClosesOpenConnectionsAndFreesThePort) {
  start();
  const int idle = dial();
  EXPECT_THAT(get("/livez"), StartsWith("HTTP/1.1 200 "));
  server_->stop();
  EXPECT_EQ(read_all(idle), "");
  server_.reset();
}

TEST_F(AdminServerTest, TakenPortIsNamed) {
  start();
  AdminServer second({.listen = server_->address()}, Router());
  const Status started = second.start();
  ASSERT_FALSE(started.ok());
  EXPECT_EQ(started.error().code(), ErrorCode::Busy);
  EXPECT_THAT(started.error().context(), HasSubstr(server_->address()));
}

TEST(SdNotifyTest, SendsTheStateToTheSocketOfTheEnvironment) {
  std::string folder = "/tmp/dunlin-notify-XXXXXX";
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  const std::string path = folder + "/socket";
  const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  setenv("NOTIFY_SOCKET", path.c_str(), 1);
  sd_notify("READY=1");
  unsetenv("NOTIFY_SOCKET");
  sd_notify("not sent");
  char buffer[64] = {};
  EXPECT_EQ(recv(fd, buffer, sizeof buffer, MSG_DONTWAIT), 7);
  EXPECT_STREQ(buffer, "READY=1");
  EXPECT_EQ(recv(fd, buffer, sizeof buffer, MSG_DONTWAIT), -1);
  close(fd);
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace dunlin

#include "server/accept_probe.h"

#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <vector>

namespace dunlin {
namespace {

constexpr Milliseconds kPatience{20'000};

struct Counting final : ConnectionHandler {
  void on_open(Connection&) override { ++told; }
  void on_message(Connection&, const ReceivedMessage&) override { ++told; }
  void on_close(Connection&, const CloseInfo&) override { ++told; }
  std::atomic<int> told{0};
};

class AcceptProbeTest : public ::testing::Test {
 protected:
  AcceptProbeTest() : worker_(0, clock_), net_({&worker_}, NetOptions{}) { worker_.start(); }
  ~AcceptProbeTest() override { worker_.stop(); }

  ProbedPort listen(Transport transport) {
    ListenerOptions options;
    options.address = Endpoint::parse("127.0.0.1:0").value();
    options.transport = transport;
    options.path = "/im";
    options.subprotocols = {"one"};
    auto bound = net_.listen(options, {&handler_});
    EXPECT_TRUE(bound.ok());
    return {.bound = *bound, .transport = transport, .tls = false, .path = "/im", .subprotocol = "one"};
  }

  SystemClock clock_;
  Worker worker_;
  Counting handler_;
  NetServer net_;
};

TEST_F(AcceptProbeTest, PortsAreOpenedUnseenByHandlersAndCounts) {
  for (const Transport transport : {Transport::WebSocket, Transport::Tcp}) {
    const ProbedPort port = listen(transport);
    const std::uint64_t before = net_.probes_opened(0);
    const Status answered = probe_port(net_, port, kPatience);
    EXPECT_TRUE(answered.ok()) << answered.error().to_string();
    EXPECT_EQ(net_.probes_opened(0), before + 1);
  }
  EXPECT_EQ(handler_.told, 0);
  EXPECT_EQ(net_.totals().accepted, 0U);
  EXPECT_EQ(net_.totals().opened, 0U);
}

TEST_F(AcceptProbeTest, UpgradeThatIsRefusedIsNoOpenPort) {
  ProbedPort port = listen(Transport::WebSocket);
  port.path = "/elsewhere";
  const Status answered = probe_port(net_, port, kPatience);
  ASSERT_FALSE(answered.ok());
  EXPECT_NE(answered.error().context().find("404"), std::string::npos) << answered.error().to_string();
  EXPECT_EQ(net_.probes_opened(0), 0U);
}

TEST_F(AcceptProbeTest, WorkerThatDoesNotTurnGivesNoAnswerThoughTheKernelConnects) {
  const ProbedPort port = listen(Transport::WebSocket);
  std::promise<void> release;
  std::promise<void> stalled;
  ASSERT_TRUE(worker_.post([&] {
    stalled.set_value();
    release.get_future().wait();
  }));
  stalled.get_future().wait();
  const Status answered = probe_port(net_, port, Milliseconds(50));
  release.set_value();
  ASSERT_FALSE(answered.ok());
  EXPECT_EQ(answered.error().code(), ErrorCode::Timeout);
}

TEST_F(AcceptProbeTest, ClosedPortIsAnError) {
  ProbedPort port = listen(Transport::Tcp);
  net_.stop_listening();
  std::promise<void> closed;
  ASSERT_TRUE(worker_.post([&] { closed.set_value(); }));
  closed.get_future().wait();
  EXPECT_FALSE(probe_port(net_, port, kPatience).ok());
}

}  // namespace
}  // namespace dunlin

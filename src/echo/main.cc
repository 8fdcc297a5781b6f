// dunlin-echo PORT: a WebSocket echo server on the product's own transport and codec, for conformance suites and load tools of others.
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "base/process_start.h"
#include "net/connection.h"
#include "net/net_server.h"
#include "runtime/worker.h"

namespace {

using namespace dunlin;

constexpr std::size_t kMaxMessage = std::size_t{16} << 20;
constexpr std::size_t kMaxFragments = 70'000;

// Sends every message back with its type. A peer that does not read is not read from: reply() sees to that.
class EchoHandler final : public ConnectionHandler {
 public:
  void on_open(Connection&) override {}
  void on_message(Connection& connection, const ReceivedMessage& message) override {
    connection.reply(message.kind, message.payload.view());
  }
  void on_close(Connection&, const CloseInfo&) override {}
};

int fail(const char* what) {
  std::fprintf(stderr, "dunlin-echo: %s\n", what);
  return 1;
}

int serve(std::uint16_t port) {
  SystemClock clock;
  Worker worker(0, clock);
  EchoHandler handler;
  NetServer server({&worker}, {});
  ListenerOptions options;
  options.address = {IpAddress::v4(0x7f000001), port};
  options.max_message_bytes = kMaxMessage;
  options.max_fragments = kMaxFragments;
  options.write_queue_bytes = 4 * kMaxMessage;
  const auto address = server.listen(std::move(options), {&handler});
  if (!address.ok()) return fail(address.error().to_string().c_str());
  std::printf("echo ws=%s pid=%d\n", address->to_string().c_str(), static_cast<int>(::getpid()));
  std::fflush(stdout);

  boost::asio::io_context signals_io;
  boost::asio::signal_set signals(signals_io, SIGTERM, SIGINT);
  signals.async_wait([](const boost::system::error_code&, int) {});
  worker.start();
  signals_io.run();
  server.stop_listening();
  server.close_all(ErrorCode::GoingAway);
  for (int i = 0; i < 100 && server.connection_count() > 0; ++i) ::usleep(10'000);
  worker.stop();
  return 0;
}

}  // namespace

int main(int count, char** arguments) {
  dunlin::prepare_process();
  std::uint16_t port = 0;
  const char* const text = count == 2 ? arguments[1] : "";
  const auto [end, error] = std::from_chars(text, text + std::strlen(text), port);
  if (count != 2 || error != std::errc() || *end != '\0') {
    std::fprintf(stderr, "usage: dunlin-echo PORT\n");
    return 2;
  }
  return serve(port);
}

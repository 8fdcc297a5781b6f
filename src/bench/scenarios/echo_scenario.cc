#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "bench/limits/limits.h"
#include "bench/load/fleet.h"
#include "bench/scenarios/scenarios.h"

namespace dunlin::bench {
namespace {

using std::chrono::milliseconds;

constexpr std::uint32_t kConnections = 500;
constexpr std::uint32_t kInFlight = 16;

// Keeps kInFlight pings under way on each connection; every reply must bear the next id.
class PingLoad final : public Fleet {
 public:
  PingLoad(LoadLoop& loop, const ServerProcess& server) : Fleet(loop, server), answered_(kConnections, 0), sent_(kConnections, 0) {
    for (std::uint32_t i = 0; i < kConnections; ++i) add(fmt::format("e{}", i));
  }

  std::uint64_t answers() const { return answers_; }

  void run(milliseconds duration) {
    running_ = true;
    for (std::uint32_t i = 0; i < kConnections; ++i) fill(i);
    loop().run_for(duration, [&] { return problems() > 0; });
    running_ = false;
  }

  bool drain(milliseconds limit) {
    return loop().run_for(limit, [&] { return problems() > 0 || answered_ == sent_; }) && problems() == 0;
  }

 private:
  void fill(std::uint32_t index) {
    while (sent_[index] - answered_[index] < kInFlight && client(index).connected) {
      // By hand, since the load shares the machine with the server: fmt was a tenth of it.
      constexpr std::string_view kBegin = R"({"id":)";
      constexpr std::string_view kEnd = R"(,"ping":{}})";
      std::array<char, kBegin.size() + 20 + kEnd.size()> packet;
      char* at = std::copy(kBegin.begin(), kBegin.end(), packet.data());
      at = std::to_chars(at, at + 20, ++sent_[index]).ptr;
      at = std::copy(kEnd.begin(), kEnd.end(), at);
      client(index).link->send({packet.data(), static_cast<std::size_t>(at - packet.data())});
    }
  }

  void on_client_packet(std::uint32_t index, const ScannedPacket& packet) override {
    if (packet.kind == "notice") return;
    if (packet.kind != "ping" || packet.id != answered_[index] + 1) {
      report_problem(index, fmt::format("ping {} was answered by {} {}", answered_[index] + 1, packet.kind, packet.id.value_or(0)));
      return;
    }
    ++answered_[index];
    ++answers_;
    if (running_) fill(index);
  }

  std::vector<std::uint64_t> answered_;
  std::vector<std::uint64_t> sent_;
  std::uint64_t answers_ = 0;
  bool running_ = false;
};

}  // namespace

Status run_echo(const BenchOptions& options, Report& report) {
  const auto scaled = [&](int ms) { return milliseconds(static_cast<int>(ms * options.scale)); };
  progress("echo", "raw epoll echo before");
  TRY_ASSIGN(const double raw_before, raw_echo_per_s(scaled(3000)));

  TRY_ASSIGN(ServerProcess server, ServerProcess::start(options));
  LoadLoop loop(server.target(), server.path());
  PingLoad load(loop, server);
  progress("echo", "connecting");
  TRY(load.connect(0, kConnections));
  progress("echo", "500 connections, 16 pings in flight");
  load.run(scaled(2000));
  std::vector<double> rates;
  for (int i = 0; i < 3; ++i) {
    const auto start = std::chrono::steady_clock::now();
    const std::uint64_t before = load.answers();
    load.run(scaled(4000));
    rates.push_back(static_cast<double>(load.answers() - before) /
                    std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    progress("echo", fmt::format("{} round trips/s", readable(rates.back())));
  }
  const bool drained = load.drain(std::chrono::seconds(10));
  report.check(load.problem().empty(), load.problem());
  report.check(drained && load.answers() > 0, "not every ping was answered");
  if (const Status stopped = server.stop(); !stopped.ok()) report.check(false, stopped.error().context());

  progress("echo", "raw epoll echo after");
  TRY_ASSIGN(const double raw_after, raw_echo_per_s(scaled(3000)));
  const double raw = (raw_before + raw_after) / 2;
  const double rate = median(rates);
  report.add("round_trips_per_s", rate, "ping round trips/s, 500 connections x 16 in flight");
  report.add("raw_echo_per_s", raw, "raw epoll echo, messages/s, before and after");
  report.add("ratio", rate / raw, "ratio to raw epoll echo", Report::Budget::AtLeast, 0.6);
  return {};
}

}  // namespace dunlin::bench

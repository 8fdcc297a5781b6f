#include <fmt/format.h>

#include <algorithm>

#include "bench/load/fleet.h"
#include "bench/scenarios/scenarios.h"

namespace dunlin::bench {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using SteadyClock = std::chrono::steady_clock;

constexpr std::uint32_t kPeers = 10;  // each user writes to the next ten, so that each has twenty conversations
constexpr std::uint32_t kBatch = 500;
constexpr double kBudget = 1024;
constexpr double kTlsBudget = 12 * 1024;

// A ring of users. Acks everything that it receives and pings once a heartbeat.
class IdleFleet final : public Fleet {
 public:
  IdleFleet(LoadLoop& loop, const ServerProcess& server, std::uint32_t users) : Fleet(loop, server), received_(users), acks_(users) {
    for (std::uint32_t i = 0; i < users; ++i) add(fmt::format("i{}", i));
  }

  // Each of the clients [first, first + count), which are connected, writes one message to each of its ten successors.
  Status write_to_peers(std::uint32_t first, std::uint32_t count) {
    const std::uint64_t wanted = sends_acked_ + std::uint64_t{count} * kPeers;
    for (std::uint32_t i = first; i < first + count; ++i) {
      for (std::uint32_t k = 1; k <= kPeers; ++k) {
        client(i).link->send(fmt::format(R"({{"id":{},"send":{{"to":"{}","client_msg_id":"{}-{}","body":{{"text":"hello"}}}}}})", k,
                                         client((i + k) % size()).user, client(i).session, k));
      }
    }
    const bool done = loop().run_for(seconds(30), [&] { return problems() > 0 || sends_acked_ == wanted; });
    if (problems() > 0) return Error(ErrorCode::Io, problem());
    if (!done) return Error(ErrorCode::Timeout, "not every send was acked");
    return {};
  }

  bool everybody_received() const {
    return std::all_of(received_.begin(), received_.end(), [](std::uint32_t count) { return count >= kPeers; });
  }

  void ping(std::uint32_t index) {
    if (client(index).connected) client(index).link->send(R"({"id":9,"ping":{}})");
  }
  std::uint64_t pongs() const { return pongs_; }

 private:
  void on_client_packet(std::uint32_t index, const ScannedPacket& packet) override {
    if (packet.kind == "send") ++sends_acked_;
    if (packet.kind == "ping") ++pongs_;
    if (packet.kind != "message") return;
    ++received_[index];
    const auto conversation = member(packet.content, "conversation");
    const auto seq = member(packet.content, "seq");
    if (!conversation || !seq) {
      report_problem(index, "a message without place");
      return;
    }
    std::string& acks = acks_[index];
    fmt::format_to(std::back_inserter(acks), R"({}{{"conversation":{},"seq":{}}})", acks.empty() ? "" : ",", *conversation, *seq);
  }

  void on_client_read_end(std::uint32_t index) override {
    if (acks_[index].empty() || !client(index).connected) return;
    client(index).link->send(R"({"ack":{"positions":[)" + acks_[index] + "]}}");
    acks_[index] = {};
  }

  std::vector<std::uint32_t> received_;
  std::vector<std::string> acks_;
  std::uint64_t sends_acked_ = 0;
  std::uint64_t pongs_ = 0;
};

// Gives every user his conversations, delivered and acked, so that nothing is left to do for those who connect later.
Status prepare(LoadLoop& loop, const ServerProcess& server, std::uint32_t users) {
  IdleFleet fleet(loop, server, users);
  for (std::uint32_t first = 0; first < users; first += kBatch) {
    const std::uint32_t count = std::min(kBatch, users - first);
    TRY(fleet.connect(first, count));
    TRY(fleet.write_to_peers(first, count));
  }
  loop.run_for(seconds(60), [&] { return fleet.problems() > 0 || fleet.everybody_received(); });
  if (fleet.problems() > 0) return Error(ErrorCode::Io, fleet.problem());
  if (!fleet.everybody_received()) return Error(ErrorCode::Timeout, "not every user received his messages");
  loop.run_for(milliseconds(1000), [] { return false; });  // the last acks leave
  loop.clear();
  return {};
}

// The memory once it moves by less than 0.5 % in two seconds, or after `limit`.
std::uint64_t settled_memory(LoadLoop& loop, const ServerProcess& server, seconds limit) {
  const auto deadline = SteadyClock::now() + limit;
  std::uint64_t last = server.memory_bytes();
  for (;;) {
    loop.run_for(seconds(2), [] { return false; });
    const std::uint64_t now = server.memory_bytes();
    const std::uint64_t change = now > last ? now - last : last - now;
    if (change * 200 < now || SteadyClock::now() > deadline) return now;
    last = now;
  }
}

// Lets every client ping once a heartbeat, spread evenly, for that many heartbeats.
void heartbeats(LoadLoop& loop, IdleFleet& fleet, int count) {
  const auto interval = milliseconds(fleet.client(0).heartbeat_ms);
  const auto start = SteadyClock::now();
  const std::uint64_t total = std::uint64_t{fleet.size()} * static_cast<std::uint64_t>(count);
  std::uint64_t sent = 0;
  int told = -1;
  loop.run_for(interval * count, [&] {
    const double passed = std::chrono::duration<double>(SteadyClock::now() - start) / std::chrono::duration<double>(interval);
    while (sent < total && static_cast<double>(sent) < passed * fleet.size()) fleet.ping(static_cast<std::uint32_t>(sent++ % fleet.size()));
    if (static_cast<int>(passed * 4) != told) {
      told = static_cast<int>(passed * 4);
      progress("idle", fmt::format("{} connections, {:.2f} of {} heartbeats", fleet.connected(), passed, count));
    }
    return fleet.problems() > 0;
  });
}

}  // namespace

Status run_idle(const BenchOptions& options, Report& report) {
  const auto users = std::max<std::uint32_t>(50, static_cast<std::uint32_t>(options.connections * options.scale));
  if (users + 100 > raise_descriptor_limit()) {
    return Error(ErrorCode::Config, fmt::format("{} connections need more open files than the limit (ulimit -Hn)", users));
  }
  ServerSettings settings;
  settings.tls = options.tls;
  TRY_ASSIGN(ServerProcess server, ServerProcess::start(options, settings));
  if (!server.is_measurable()) return Error(ErrorCode::Config, "idle measures the server's memory: name its process with --server-pid");
  progress("idle", fmt::format("{} users write to ten others each", users));
  {
    LoadLoop loop(server.target(), server.path());
    if (options.tls) TRY(loop.use_tls());
    TRY(prepare(loop, server, users));
  }
  // A process that has never held these connections: memory that it freed earlier would hide what they cost.
  progress("idle", "server restarts on the same data");
  TRY(server.restart());

  LoadLoop loop(server.target(), server.path());
  if (options.tls) TRY(loop.use_tls());
  {
    IdleFleet warm_up(loop, server, std::min(kBatch, users));
    TRY(warm_up.connect(0, warm_up.size()));
    loop.run_for(seconds(1), [] { return false; });
    loop.clear();
  }
  const std::uint64_t before = settled_memory(loop, server, seconds(15));
  progress("idle", fmt::format("{} MB before; connecting {}", before >> 20, users));
  IdleFleet fleet(loop, server, users);
  TRY(fleet.connect(0, users, {}, 256, seconds(90)));
  heartbeats(loop, fleet, options.scale < 0.1 ? 0 : 2);
  loop.run_for(seconds(1), [] { return false; });
  const std::uint64_t after = server.memory_bytes();

  report.check(fleet.problem().empty(), fleet.problem());
  report.check(fleet.connected() == users, fmt::format("only {} of {} connections are left", fleet.connected(), users));
  report.check(options.scale < 0.1 || fleet.pongs() >= users, "pings were not answered");
  // A few hundred connections are less than what the process gives back meanwhile: then the figure is none, as the report says.
  report.check(options.scale < 0.1 || after > before, "the server's memory did not grow: nothing was measured");
  const double growth = static_cast<double>(after) - static_cast<double>(before);
  report.add("connections", fleet.connected(), "authenticated connections, 20 conversations each");
  report.add("bytes_per_connection", growth / users, "growth of the server's PSS a connection, bytes", Report::Budget::AtMost,
             options.tls ? kTlsBudget : kBudget);
  report.add("server_bytes_before", static_cast<double>(before), "server's PSS before, bytes");
  loop.clear();
  if (const Status stopped = server.stop(); !stopped.ok()) report.check(false, stopped.error().context());
  return {};
}

}  // namespace dunlin::bench

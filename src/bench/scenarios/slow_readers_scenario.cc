#include <fmt/format.h>

#include <algorithm>

#include "bench/limits/limits.h"
#include "bench/load/bulk_sender.h"
#include "bench/load/pair_load.h"
#include "bench/scenarios/scenarios.h"

namespace dunlin::bench {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::uint32_t kSlowClients = 1000;
constexpr std::uint32_t kFeeders = 16;
constexpr std::size_t kBodyBytes = 4096;
constexpr std::uint32_t kBacklog = 64;  // messages that wait for each slow client: twice its write queue
constexpr int kSlowReceiveBuffer = 4096;
constexpr int kRounds = 3;

// Clients that read up to their connect reply and never again.
class StoppedFleet final : public Fleet {
 public:
  StoppedFleet(LoadLoop& loop, const ServerProcess& server, std::uint32_t count) : Fleet(loop, server) {
    for (std::uint32_t i = 0; i < count; ++i) add(fmt::format("z{}", i));
  }

 private:
  void on_connected(std::uint32_t index) override { client(index).link->stop_reading(); }
};

struct Run {
  double p99_ms = 0;
  double per_s = 0;  // delivered to the pairs
  std::uint64_t peak_bytes = 0;
};

// Full load of the pairs while the feeders keep writing to the slow users, connected or not.
Run measure(PairLoad& load, BulkSender& feeders, const ServerProcess& server, std::uint32_t slow, milliseconds duration) {
  const auto body = std::make_shared<const std::string>(R"({"text":")" + std::string(256, 's') + R"("})");
  Run run;
  std::uint32_t next = 0;
  auto sample_at = std::chrono::steady_clock::now();
  load.run_closed(duration / 4);  // those who have just connected are told of their backlog: that is another matter
  load.reset_latency();
  const std::uint64_t delivered = load.totals().delivered;
  const auto start = std::chrono::steady_clock::now();
  load.run_closed(duration, [&] {
    const auto now = std::chrono::steady_clock::now();
    if (now < sample_at) return;
    sample_at = now + milliseconds(100);
    run.peak_bytes = std::max(run.peak_bytes, server.memory_bytes());
    if (!feeders.is_idle()) return;
    for (std::uint32_t i = 0; i < slow / 10; ++i, ++next) feeders.queue(next % kFeeders, fmt::format("z{}", next % slow), 1, body);
    feeders.pump();
  });
  run.per_s = static_cast<double>(load.totals().delivered - delivered) /
              std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  run.p99_ms = load.delivered_latency().quantile_ms(0.99);
  return run;
}

// Full load until the server's memory (the store's window, above all) has stopped growing, so that the growth measured later is the slow
// clients'.
void warm_up(PairLoad& load, const ServerProcess& server, milliseconds step) {
  std::uint64_t highest = server.memory_bytes();
  for (int calm = 0, i = 0; calm < 2 && i < 12; ++i) {
    load.run_closed(step);
    const std::uint64_t now = server.memory_bytes();
    calm = now > highest + highest / 50 ? 0 : calm + 1;
    highest = std::max(highest, now);
  }
}

}  // namespace

Status run_slow_readers(const BenchOptions& options, Report& report) {
  const auto slow = std::max<std::uint32_t>(20, static_cast<std::uint32_t>(kSlowClients * options.scale));
  const auto duration = milliseconds(std::max(500, static_cast<int>(8000 * options.scale)));
  const ServerSettings settings;
  progress("slow-readers", "raw append log before");
  const auto raw_time = milliseconds(static_cast<int>(2000 * options.scale));
  TRY_ASSIGN(const double raw_before, log_appends_per_s(raw_time));
  TRY_ASSIGN(ServerProcess server, ServerProcess::start(options, settings));
  if (!server.is_measurable()) return Error(ErrorCode::Config, "slow-readers measures memory: name the server's process with --server-pid");
  LoadLoop loop(server.target(), server.path());
  LoadLoop slow_loop(server.target(), server.path());
  BulkSender feeders(loop, server, "f", kFeeders, 16);
  PairLoad load(loop, server, {.pairs = 500, .in_flight = 16, .random_ids = false, .prefix = "w"});

  progress("slow-readers", fmt::format("{} KB wait for each of {} users", kBacklog * kBodyBytes / 1024, slow));
  TRY(feeders.connect_all());
  const auto body = std::make_shared<const std::string>(R"({"text":")" + std::string(kBodyBytes, 's') + R"("})");
  for (std::uint32_t i = 0; i < slow; ++i) feeders.queue(i % kFeeders, fmt::format("z{}", i), kBacklog, body);
  TRY(feeders.send_all(seconds(60)));
  TRY(load.connect_all());
  warm_up(load, server, duration / 4);

  std::vector<double> changes;
  std::vector<double> rates;
  double growth = 0;
  for (int round = 0; round < kRounds; ++round) {
    const Run without = measure(load, feeders, server, slow, duration);
    StoppedFleet stopped(slow_loop, server, slow);
    TRY(stopped.connect(0, slow, {.receive_buffer = kSlowReceiveBuffer}));
    const Run with = measure(load, feeders, server, slow, duration);
    report.check(stopped.problem().empty(), stopped.problem());
    slow_loop.clear();
    load.run_closed(milliseconds(500));
    rates.push_back(with.per_s);
    changes.push_back(with.p99_ms / without.p99_ms - 1);
    growth = std::max(growth, static_cast<double>(with.peak_bytes) - static_cast<double>(without.peak_bytes));
    progress("slow-readers", fmt::format("round {}: p99 {:.1f} ms without, {:.1f} ms with; {} MB, {} MB", round + 1, without.p99_ms,
                                         with.p99_ms, without.peak_bytes >> 20, with.peak_bytes >> 20));
  }
  const bool drained = load.drain(seconds(20));
  const PairLoad::Totals totals = load.totals();
  report.check(load.problem().empty(), load.problem());
  report.check(feeders.problem().empty(), feeders.problem());
  report.check(drained && totals.lost() == 0 && totals.duplicated == 0 && totals.reordered == 0,
               "messages of the other clients were lost, duplicated or reordered");
  const double bound = static_cast<double>(slow) * static_cast<double>(settings.write_queue_bytes);
  report.add("slow_clients", slow, "clients that never read");
  report.add("rss_growth_bytes", growth, "growth of the server's memory, bytes", Report::Budget::AtMost, bound);
  report.add("bound_bytes", bound, "bound: clients x net.write-queue-bytes");
  report.add("p99_change", median(changes), "change of the others' p99 (0.1 = +10 %)", Report::Budget::AtMost, 0.1);
  loop.clear();
  if (const Status ended = server.stop(); !ended.ok()) report.check(false, ended.error().context());
  progress("slow-readers", "raw append log after");
  TRY_ASSIGN(const double raw_after, log_appends_per_s(raw_time));
  const double raw = (raw_before + raw_after) / 2;
  report.add("delivered_per_s", median(rates), "the others' messages delivered beside them, /s");
  report.add("log_appends_per_s", raw, "raw append log, records/s, before and after");
  report.add("ratio", median(rates) / raw, "ratio to the raw append log");
  return {};
}

}  // namespace dunlin::bench

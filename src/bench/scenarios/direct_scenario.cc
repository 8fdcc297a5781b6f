#include <fmt/format.h>

#include <ctime>

#include "bench/limits/limits.h"
#include "bench/load/pair_load.h"
#include "bench/scenarios/scenarios.h"

namespace dunlin::bench {
namespace {

using std::chrono::milliseconds;

struct FullSpeed {
  double delivered_per_s = 0;
  double cpu_us_per_message = 0;
};

FullSpeed measure_full_speed(PairLoad& load, const ServerProcess& server, milliseconds duration) {
  const auto start = std::chrono::steady_clock::now();
  const std::uint64_t delivered_before = load.totals().delivered;
  const double cpu_before = server.cpu_seconds();
  load.run_closed(duration);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const auto delivered = static_cast<double>(load.totals().delivered - delivered_before);
  FullSpeed result;
  result.delivered_per_s = delivered / seconds;
  if (delivered > 0) result.cpu_us_per_message = (server.cpu_seconds() - cpu_before) * 1e6 / delivered;
  return result;
}

struct OpenSchedule {
  double per_s = 0;
  double server_cores = 0;  // CPU seconds for each second
  double load_cores = 0;
};

// CPU time of this thread, which is the whole load.
double own_cpu_seconds() {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

OpenSchedule measure_open(PairLoad& load, const ServerProcess& server, double per_s, milliseconds warm_up, milliseconds duration) {
  load.run_open(per_s, warm_up);
  load.reset_latency();
  const auto start = std::chrono::steady_clock::now();
  const double server_before = server.cpu_seconds();
  const double own_before = own_cpu_seconds();
  load.run_open(per_s, duration);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return {.per_s = per_s,
          .server_cores = (server.cpu_seconds() - server_before) / seconds,
          .load_cores = (own_cpu_seconds() - own_before) / seconds};
}

void add_latency(Report& report, std::string_view name, std::string_view label, const LatencyHistogram& latency) {
  using enum Report::Budget;
  report.add(fmt::format("half_{}_p50_ms", name), latency.quantile_ms(0.5), fmt::format("open schedule, {} p50, ms", label));
  report.add(fmt::format("half_{}_p99_ms", name), latency.quantile_ms(0.99), fmt::format("open schedule, {} p99, ms", label), AtMost, 20);
  report.add(fmt::format("half_{}_p999_ms", name), latency.quantile_ms(0.999), fmt::format("open schedule, {} p99.9, ms", label), AtMost,
             50);
}

}  // namespace

Status run_direct(const BenchOptions& options, Report& report) {
  const auto scaled = [&](int ms) { return milliseconds(static_cast<int>(ms * options.scale)); };
  progress("direct", "raw append log before");
  TRY_ASSIGN(const double log_before, log_appends_per_s(scaled(2000)));

  TRY_ASSIGN(ServerProcess server, ServerProcess::start(options));
  LoadLoop loop(server.target(), server.path());
  PairLoad load(loop, server, {.pairs = 500, .in_flight = 16, .random_ids = options.ids == "random", .prefix = "d"});
  progress("direct", "connecting 500 pairs");
  TRY(load.connect_all());
  progress("direct", "warm-up");
  load.run_closed(scaled(3000));
  progress("direct", "500 pairs, 16 in flight");
  const FullSpeed full = measure_full_speed(load, server, scaled(15000));
  bool drained = load.drain(std::chrono::seconds(20));
  const double open_rate = options.rate > 0 ? options.rate : full.delivered_per_s / 2;
  progress("direct", fmt::format("{} messages/s; now {} of them on an open schedule", readable(full.delivered_per_s), readable(open_rate)));
  const OpenSchedule open = measure_open(load, server, open_rate, scaled(2000), scaled(20000));
  drained = load.drain(std::chrono::seconds(20)) && drained;

  const PairLoad::Totals totals = load.totals();
  report.check(load.problem().empty(), load.problem());
  report.check(drained, fmt::format("{} of {} sent were acked and {} delivered in time", totals.acked, totals.sent, totals.delivered));
  report.check(totals.lost() == 0 && totals.duplicated == 0 && totals.reordered == 0, "messages were lost, duplicated or reordered");
  report.check(totals.delivered > 0, "nothing was delivered");
  if (const Status stopped = server.stop(); !stopped.ok()) report.check(false, stopped.error().context());

  progress("direct", "raw append log after");
  TRY_ASSIGN(const double log_after, log_appends_per_s(scaled(2000)));

  using enum Report::Budget;
  report.add("delivered_per_s", full.delivered_per_s, "delivered messages/s, 500 pairs x 16 in flight", AtLeast, 80'000);
  report.add("ratio", full.delivered_per_s / ((log_before + log_after) / 2), "ratio to the raw append log", AtLeast, 0.35);
  report.add("log_appends_per_s", (log_before + log_after) / 2, "raw append log, records/s, before and after");
  if (server.is_measurable()) {
    report.add("server_cpu_us_per_message", full.cpu_us_per_message, "server CPU a message, all threads, us", AtMost, 12);
  }
  report.add("lost", static_cast<double>(totals.lost()), "lost");
  report.add("duplicated", static_cast<double>(totals.duplicated), "duplicated");
  report.add("reordered", static_cast<double>(totals.reordered), "reordered");
  report.add("refused", static_cast<double>(totals.refused), "refused temporarily and repeated");
  report.add("half_per_s", open.per_s, "open schedule, messages/s");
  if (server.is_measurable()) report.add("half_server_cores", open.server_cores, "open schedule, cores that the server uses");
  report.add("half_load_cores", open.load_cores, "open schedule, cores that the load uses (at most 1)");
  report.add("half_late_p99_ms", load.lateness().quantile_ms(0.99), "open schedule, the load itself is late, p99, ms");
  add_latency(report, "ack", "send to ack", load.ack_latency());
  add_latency(report, "delivered", "send to delivered", load.delivered_latency());
  return {};
}

}  // namespace dunlin::bench

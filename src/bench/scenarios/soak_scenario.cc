#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "bench/load/pair_load.h"
#include "bench/scenarios/scenarios.h"

namespace dunlin::bench {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::uint64_t kSoakSeconds = 120;
constexpr int kParts = 10;
constexpr milliseconds kSampleEvery{1000};

// The server after one part of the run, and its worst within it.
struct Part {
  double p99_ms = 0;  // send → delivered
  std::uint64_t rss_bytes = 0;
  std::uint64_t descriptors = 0;
};

// How far the run is: by messages, by time, or by whichever comes first.
class Course {
 public:
  Course(std::uint64_t messages, seconds most) : messages_(messages), most_(most), start_(std::chrono::steady_clock::now()) {}
  double done(std::uint64_t delivered) const {
    const double by_time = most_.count() > 0 ? elapsed() / static_cast<double>(most_.count()) : 0;
    const double by_messages = messages_ > 0 ? static_cast<double>(delivered) / static_cast<double>(messages_) : 0;
    return std::max(by_time, by_messages);
  }
  double elapsed() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }

 private:
  const std::uint64_t messages_;
  const seconds most_;
  const std::chrono::steady_clock::time_point start_;
};

}  // namespace

// One process under full load for long: memory, descriptors, bytes on disk and latency, in ten parts of the run.
Status run_soak(const BenchOptions& options, Report& report) {
  const std::uint64_t default_seconds = options.messages > 0 ? 0 : kSoakSeconds;
  const auto most = static_cast<double>(options.seconds > 0 ? options.seconds : default_seconds) * options.scale;
  TRY_ASSIGN(ServerProcess server, ServerProcess::start(options));
  if (!server.is_measurable()) return Error(ErrorCode::Config, "soak measures memory: name the server's process with --server-pid");
  LoadLoop loop(server.target(), server.path());
  PairLoad load(loop, server, {.pairs = 500, .in_flight = 16, .random_ids = options.ids == "random", .prefix = "k"});
  progress("soak", "connecting 500 pairs");
  TRY(load.connect_all());

  const Course course(static_cast<std::uint64_t>(static_cast<double>(options.messages) * options.scale),
                      seconds(most > 0 ? std::max<std::int64_t>(1, static_cast<std::int64_t>(most)) : 0));
  std::vector<Part> parts;
  std::uint64_t highest_rss = 0;
  std::uint64_t most_descriptors = 0;
  while (parts.size() < kParts && load.problem().empty()) {
    load.reset_latency();
    Part part;
    do {
      load.run_closed(kSampleEvery);
      highest_rss = std::max(highest_rss, server.resident_bytes());
      part.descriptors = server.descriptors();
      most_descriptors = std::max(most_descriptors, part.descriptors);
    } while (load.problem().empty() && course.done(load.totals().delivered) * kParts < static_cast<double>(parts.size() + 1));
    part.rss_bytes = server.resident_bytes();
    part.p99_ms = load.delivered_latency().quantile_ms(0.99);
    parts.push_back(part);
    progress("soak",
             fmt::format("{} messages: RSS {} MiB, {} descriptors, delivered p99 {:.1f} ms",
                         readable(static_cast<double>(load.totals().delivered)), part.rss_bytes >> 20, part.descriptors, part.p99_ms));
  }
  const double elapsed = course.elapsed();
  const auto delivered = static_cast<double>(load.totals().delivered);
  const bool drained = load.drain(seconds(20));
  const PairLoad::Totals totals = load.totals();
  report.check(load.problem().empty(), load.problem());
  report.check(drained && totals.lost() == 0 && totals.duplicated == 0 && totals.reordered == 0,
               "messages were lost, duplicated or reordered");
  report.check(totals.delivered > 0 && parts.size() == kParts, "the run did not come to its end");
  const double disk = static_cast<double>(server.data_bytes());
  if (const Status stopped = server.stop(); !stopped.ok()) report.check(false, stopped.error().context());
  if (parts.empty()) return {};

  report.add("messages", static_cast<double>(totals.delivered), "messages delivered by one process");
  report.add("seconds", elapsed, "in seconds");
  report.add("delivered_per_s", delivered / elapsed, "messages/s");
  report.add("rss_bytes_first", static_cast<double>(parts.front().rss_bytes), "resident memory after a tenth, bytes");
  report.add("rss_bytes_last", static_cast<double>(parts.back().rss_bytes), "resident memory at the end, bytes");
  report.add("rss_bytes_max", static_cast<double>(highest_rss), "highest");
  report.add("descriptors_first", static_cast<double>(parts.front().descriptors),
             "open descriptors after a tenth, 1,000 of them connections");
  report.add("descriptors_last", static_cast<double>(parts.back().descriptors), "open descriptors at the end");
  report.add("descriptors_max", static_cast<double>(most_descriptors), "most");
  report.add("disk_bytes_per_message", disk / std::max(1.0, static_cast<double>(totals.delivered)),
             "bytes on disk a message, spare segments included");
  double worst = 0;
  for (const Part& part : parts) worst = std::max(worst, part.p99_ms);
  report.add("delivered_p99_ms_first", parts.front().p99_ms, "send to delivered, p99 of the first tenth, ms");
  report.add("delivered_p99_ms_last", parts.back().p99_ms, "send to delivered, p99 of the last tenth, ms");
  report.add("delivered_p99_ms_max", worst, "send to delivered, p99 of the worst tenth, ms");
  for (std::size_t i = 0; i < parts.size(); ++i) {
    report.add(fmt::format("part{}_rss_bytes", i + 1), static_cast<double>(parts[i].rss_bytes));
    report.add(fmt::format("part{}_descriptors", i + 1), static_cast<double>(parts[i].descriptors));
    report.add(fmt::format("part{}_delivered_p99_ms", i + 1), parts[i].p99_ms);
  }
  report.add("lost", static_cast<double>(totals.lost()), "lost");
  report.add("duplicated", static_cast<double>(totals.duplicated), "duplicated");
  report.add("reordered", static_cast<double>(totals.reordered), "reordered");
  return {};
}

}  // namespace dunlin::bench

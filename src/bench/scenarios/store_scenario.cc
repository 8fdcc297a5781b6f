#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "bench/limits/raw_log.h"
#include "bench/load/store_driver.h"
#include "bench/scenarios/scenarios.h"
#include "bench/scratch.h"

namespace dunlin::bench {
namespace {

using std::chrono::seconds;
using SteadyClock = std::chrono::steady_clock;

constexpr std::uint32_t kConversations = 50'000;
constexpr std::uint64_t kMessages = 4'000'000;
constexpr std::uint32_t kManyConversations = 1'000'000;
constexpr std::uint64_t kColdMessages = 200'000;  // nine of ten to a conversation whose head is not in memory

double process_cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds_of = [](const timeval& time) { return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6; };
  return seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime);
}

Result<double> raw_log_cpu_us(std::uint64_t records) {
  TRY_ASSIGN(RawLog log, RawLog::create());
  const double before = process_cpu_seconds();
  while (log.records() < records) TRY(log.append_batch());
  return (process_cpu_seconds() - before) * 1e6 / static_cast<double>(log.records());
}

struct Cost {
  double cpu_us = 0;
  double per_s = 0;
};

// Writes and flushes; the cost includes ingest, compaction and cursors.
Result<Cost> measure(StoreDriver& driver, std::uint64_t messages, seconds limit, const std::function<std::uint32_t()>& next) {
  const double cpu_before = process_cpu_seconds();
  const auto start = SteadyClock::now();
  TRY_ASSIGN(const bool finished, driver.write(messages, limit, next));
  if (!finished) return Error(ErrorCode::Timeout, fmt::format("{} messages were not stored within {} s", messages, limit.count()));
  Cost cost;
  cost.per_s = static_cast<double>(messages) / std::chrono::duration<double>(SteadyClock::now() - start).count();
  TRY(driver.flush(seconds(60)));
  cost.cpu_us = (process_cpu_seconds() - cpu_before) * 1e6 / static_cast<double>(messages);
  return cost;
}

Result<Cost> measure_full(const BenchOptions& options) {
  TRY_ASSIGN(const ScratchFolder folder, ScratchFolder::create());
  StoreDriver driver(folder.file("data"), kConversations);
  TRY(driver.open());
  std::minstd_rand random(1);
  const auto messages = static_cast<std::uint64_t>(static_cast<double>(kMessages) * options.scale);
  TRY_ASSIGN(const Cost cost,
             measure(driver, messages, seconds(110), [&] { return static_cast<std::uint32_t>(random() % kConversations); }));
  TRY(driver.verify(500));
  TRY(driver.close());
  return cost;
}

// A store that knows a million conversations is opened anew, so that all are cold; then one message each goes to conversations not
// touched since, and every tenth to one of those that were.
Result<Cost> measure_cold(const BenchOptions& options) {
  TRY_ASSIGN(const ScratchFolder folder, ScratchFolder::create());
  const auto conversations = static_cast<std::uint32_t>(kManyConversations * options.scale);
  StoreDriver driver(folder.file("data"), conversations);
  TRY(driver.open());
  std::uint32_t next = 0;
  progress("store", fmt::format("one message to each of {} conversations", readable(conversations)));
  TRY_ASSIGN(const bool filled, driver.write(conversations, seconds(60), [&] { return next++; }));
  if (!filled) return Error(ErrorCode::Timeout, "the conversations were not made in time");
  TRY(driver.flush(seconds(60)));
  TRY(driver.close());

  TRY(driver.open());
  progress("store", "messages to them, nine of ten to a cold one");
  std::vector<std::uint32_t> order(conversations);
  std::iota(order.begin(), order.end(), 0U);
  std::shuffle(order.begin(), order.end(), std::minstd_rand(3));
  const auto messages = static_cast<std::uint64_t>(static_cast<double>(kColdMessages) * options.scale);
  std::minstd_rand random(5);
  std::uint32_t cold = 0;
  std::uint64_t count = 0;
  TRY_ASSIGN(const Cost cost, measure(driver, messages, seconds(60), [&] {
               const bool is_cold = count++ % 10 != 9 || cold == 0;
               return is_cold ? order[cold++] : order[random() % cold];
             }));
  TRY(driver.verify(500));
  TRY(driver.close());
  return cost;
}

}  // namespace

Status run_store(const BenchOptions& options, Report& report) {
  const auto raw_records = static_cast<std::uint64_t>(2'000'000 * options.scale);
  progress("store", "raw append log before");
  TRY_ASSIGN(const double raw_before, raw_log_cpu_us(raw_records));
  progress("store", fmt::format("{} messages over {} conversations", readable(static_cast<double>(kMessages) * options.scale),
                                readable(kConversations)));
  TRY_ASSIGN(const Cost full, measure_full(options));
  progress("store", fmt::format("{:.2f} us CPU a message, {} messages/s", full.cpu_us, readable(full.per_s)));
  TRY_ASSIGN(const Cost cold, measure_cold(options));
  progress("store", "raw append log after");
  TRY_ASSIGN(const double raw_after, raw_log_cpu_us(raw_records));
  const double raw = (raw_before + raw_after) / 2;
  report.add("raw_log_cpu_us", raw, "raw append log, CPU us a record, before and after");
  report.add("full_cpu_us", full.cpu_us, "store with indexer, dedup, activity, cursors: CPU us a message");
  report.add("ratio", full.cpu_us / raw, "the same relative to the raw log");
  report.add("full_per_s", full.per_s, "messages/s, wall");
  report.add("cold_full_cpu_us", cold.cpu_us, "1 M conversations, 90 % cold: CPU us a message");
  report.add("cold_per_s", cold.per_s, "the same, messages/s, wall");
  return {};
}

}  // namespace dunlin::bench

#include "metrics/server_metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>
#include <thread>
#include <vector>

#include "metrics/exposition.h"

namespace dunlin {
namespace {

using metrics::ClientEnd;
using metrics::Encoding;
using metrics::Transport;
using ::testing::HasSubstr;
using ::testing::Not;

std::vector<std::string> lines(const std::string& text) {
  std::vector<std::string> all;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) all.push_back(line);
  return all;
}

TEST(CounterTest, AddsUpOverThreads) {
  metrics::Counter counter;
  std::vector<std::thread> threads;
  threads.reserve(12);
  for (int i = 0; i < 12; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 10'000; ++n) counter.add();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(counter.value(), 120'000U);
}

TEST(LevelGaugeTest, IsTheSumOfMovesOnAllThreads) {
  metrics::LevelGauge gauge;
  gauge.add(10);
  std::thread([&] { gauge.sub(14); }).join();
  EXPECT_EQ(gauge.value(), -4);
}

TEST(HistogramTest, ValueOnABoundBelongsToItsBucket) {
  metrics::Histogram histogram{10, 20};
  for (const std::uint64_t value : {0, 10, 11, 20, 21, 1000}) histogram.observe(value);
  const metrics::HistogramSnapshot snapshot = histogram.snapshot();
  EXPECT_THAT(snapshot.buckets, ::testing::ElementsAre(2, 2, 2));
  EXPECT_EQ(snapshot.sum, 1062U);
  EXPECT_EQ(histogram.count(), 6U);
}

TEST(HistogramTest, NegativeDurationCountsAsZero) {
  metrics::Histogram histogram{10};
  histogram.observe(std::chrono::nanoseconds(-5));
  EXPECT_EQ(histogram.snapshot().sum, 0U);
  EXPECT_EQ(histogram.count(), 1U);
}

TEST(ExpositionTest, HistogramIsCumulativeAndScaled) {
  metrics::Histogram histogram{1'000'000, 2'000'000};
  histogram.observe(500'000U);
  histogram.observe(1'500'000U);
  histogram.observe(9'000'000U);
  metrics::Exposition out;
  out.family("x_seconds", metrics::Exposition::Type::Histogram, "X.");
  out.histogram(histogram, 1e-9);
  EXPECT_EQ(out.take(),
            "# HELP x_seconds X.\n# TYPE x_seconds histogram\n"
            "x_seconds_bucket{le=\"0.001\"} 1\nx_seconds_bucket{le=\"0.002\"} 2\nx_seconds_bucket{le=\"+Inf\"} 3\n"
            "x_seconds_sum 0.011\nx_seconds_count 3\n");
}

TEST(ExpositionTest, LabelValuesAreEscaped) {
  metrics::Exposition out;
  out.family("x", metrics::Exposition::Type::Gauge, "X.");
  out.sample({{"a", "q\"b\\c\nd"}, {"b", ""}}, std::int64_t{-1});
  EXPECT_THAT(out.take(), HasSubstr("x{a=\"q\\\"b\\\\c\\nd\",b=\"\"} -1\n"));
}

TEST(ServerMetricsTest, ShowsWhatWasCounted) {
  ServerMetrics metrics;
  metrics.connections(Transport::WebSocket, Encoding::Json).add(2);
  metrics.connections(Transport::Tcp, Encoding::Protobuf).add(1);
  metrics.disconnects_total.add(ErrorCode::SlowConsumer);
  metrics.disconnects_total.add(ClientEnd::Lost);
  metrics.errors_total.add(ErrorCode::NoSpace);  // counted under its wire name
  metrics.encodes(Encoding::Json).add(3);
  metrics.set_config_unsafe("store.unsafe-memory-acks", true);
  metrics.limited(metrics::Limit::UserSends, metrics::LimitOutcome::WouldReject).add();
  const std::string text = metrics.expose();
  EXPECT_THAT(text, HasSubstr("dunlin_connections{transport=\"websocket\",encoding=\"json\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("dunlin_connections{transport=\"tcp\",encoding=\"protobuf\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("dunlin_disconnects_total{reason=\"slow_consumer\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("dunlin_disconnects_total{reason=\"client_lost\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("dunlin_errors_total{name=\"store_unavailable\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("dunlin_encodes_total{encoding=\"json\"} 3\n"));
  EXPECT_THAT(text, HasSubstr("dunlin_config_unsafe{option=\"store.unsafe-memory-acks\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("dunlin_limited_total{limit=\"user_sends\",outcome=\"would_reject\"} 1\n"));
  EXPECT_THAT(text, Not(HasSubstr("process_resident_memory_bytes 0\n")));
}

TEST(ServerMetricsTest, EveryLineIsWellFormedAndNoSeriesAppearsTwice) {
  ServerMetrics metrics;
  const std::regex sample(R"re([a-z_]+(\{[a-z_]+="[^"]*"(,[a-z_]+="[^"]*")*\})? -?[0-9.e+-]+)re");
  const std::regex comment("# (HELP|TYPE) [a-z_]+ .+");
  std::set<std::string> series;
  for (const std::string& line : lines(metrics.expose())) {
    if (line.starts_with('#')) {
      EXPECT_TRUE(std::regex_match(line, comment)) << line;
      continue;
    }
    EXPECT_TRUE(std::regex_match(line, sample)) << line;
    EXPECT_TRUE(series.insert(line.substr(0, line.rfind(' '))).second) << line;
  }
}

// R11.1: the number of series is fixed, whatever clients do; only unsafe options add any, and those have a bound.
TEST(ServerMetricsTest, CardinalityIsBounded) {
  ServerMetrics metrics;
  const auto count = [&] {
    const auto all = lines(metrics.expose());
    return std::count_if(all.begin(), all.end(), [](const std::string& line) { return !line.starts_with('#'); });
  };
  const auto before = count();
  EXPECT_LT(before, 350);
  for (const ErrorInfo& row : error_table()) {
    metrics.disconnects_total.add(row.code);
    metrics.errors_total.add(row.code);
  }
  for (int i = 0; i < 1000; ++i) metrics.store_batch_messages.observe(static_cast<std::uint64_t>(i) * 7919);
  EXPECT_EQ(count(), before);
  for (int i = 0; i < 1000; ++i) metrics.set_config_unsafe("option-" + std::to_string(i), true);
  EXPECT_EQ(count(), before + 32);
}

TEST(ServerMetricsTest, NoLabelNamesAUserOrConversation) {
  ServerMetrics metrics;
  metrics.set_config_unsafe("x", true);
  const std::set<std::string> allowed = {"transport", "encoding", "reason",   "name",  "limit", "outcome",
                                         "check",     "option",   "platform", "state", "for",   "le"};
  const std::string text = metrics.expose();
  const std::regex label("[{,]([a-z_]+)=\"");
  for (std::sregex_iterator it(text.begin(), text.end(), label), end; it != end; ++it) EXPECT_EQ(allowed.count((*it)[1]), 1U) << (*it)[1];
}

TEST(MetricsPageTest, ExplainsEveryFamily) {
  std::ifstream stream(DUNLIN_SOURCE_DIR "/docs/operating/metrics.md");
  std::ostringstream page;
  page << stream.rdbuf();
  const std::string text = page.str();
  for (const std::string& line : lines(ServerMetrics().expose())) {
    if (!line.starts_with("# TYPE ")) continue;
    const std::string name = line.substr(7, line.find(' ', 7) - 7);
    EXPECT_NE(text.find("`" + name), std::string::npos) << name << " is missing in docs/operating/metrics.md";
  }
}

TEST(PlatformTest, NamesThatAreNotKnownAreOther) {
  using metrics::Platform;
  EXPECT_EQ(metrics::platform_of(""), Platform::None);
  EXPECT_EQ(metrics::platform_of("ios"), Platform::Ios);
  EXPECT_EQ(metrics::platform_of("cli"), Platform::Cli);
  EXPECT_EQ(metrics::platform_name(Platform::Cli), "cli");
  EXPECT_EQ(metrics::platform_name(Platform::None), "");
  EXPECT_EQ(metrics::platform_name(static_cast<Platform>(200)), "");
  for (const std::string_view told : {"other", "none", "iOS", "toaster"}) EXPECT_EQ(metrics::platform_of(told), Platform::Other) << told;
}

}  // namespace
}  // namespace dunlin

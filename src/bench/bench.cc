#include "bench/bench.h"

#include <cstdio>
#include <string_view>

#include "bench/report.h"
#include "bench/scenarios/scenarios.h"

namespace dunlin::bench {
namespace {

struct Scenario {
  std::string_view name;
  Status (*run)(const BenchOptions&, Report&);
};

constexpr Scenario kScenarios[] = {{"limits", run_limits},
                                   {"store", run_store},
                                   {"idle", run_idle},
                                   {"echo", run_echo},
                                   {"direct", run_direct},
                                   {"login", run_login},
                                   {"slow-readers", run_slow_readers},
                                   {"soak", run_soak}};

#ifdef NDEBUG
constexpr bool kOptimised = true;
#else
constexpr bool kOptimised = false;
#endif

int usage_error(std::string_view text) {
  std::fprintf(stderr, "dunlin bench: %.*s\n", static_cast<int>(text.size()), text.data());
  return 2;
}

}  // namespace

int run_bench(const BenchOptions& options) {
  const Scenario* chosen = nullptr;
  for (const Scenario& scenario : kScenarios) {
    if (scenario.name == options.scenario) chosen = &scenario;
  }
  if (chosen == nullptr) return usage_error("no such scenario: " + options.scenario);
  if (options.ids != "session" && options.ids != "random") return usage_error("--ids is session or random");
  if (options.rate < 0 || options.rate > 10'000'000)
    return usage_error("--rate is 0 (half of what is reached) or messages/s up to 10,000,000");
  if (options.tls && (options.scenario != "idle" || !options.url.empty())) return usage_error("--tls is for idle, without --url");
  if (options.scale <= 0 || options.scale > 1) return usage_error("--scale is above 0 and at most 1");
  if (!kOptimised && !options.allow_debug) {
    return usage_error("this is a debug build, whose numbers mean nothing; build a release or pass --allow-debug");
  }

  Report report(options.scenario);
  const Status ran = chosen->run(options, report);
  if (!ran.ok()) report.check(false, ran.error().to_string());
  if (options.scale != 1.0) report.note("scaled-down run: a test of the benchmark, not a result");
  if (!kOptimised) report.note("debug build: not a result");
  const std::string out = options.json ? report.json() + "\n" : report.table();
  if (options.json && !report.passed()) std::fputs(report.table().c_str(), stderr);
  std::fwrite(out.data(), 1, out.size(), stdout);
  std::fflush(stdout);
  if (!ran.ok() && ran.error().code() == ErrorCode::Config) return 2;
  return report.passed() ? 0 : 1;
}

}  // namespace dunlin::bench

#pragma once

#include "base/result.h"
#include "bench/options.h"
#include "bench/report.h"

namespace dunlin::bench {

// One function a scenario: does the work of the interface table, fills the report with its names, and records failed self-checks
// there. An Error means that it could not be run at all. Each ends within 240 s unless it is asked for more.
Status run_limits(const BenchOptions& options, Report& report);
Status run_store(const BenchOptions& options, Report& report);
Status run_idle(const BenchOptions& options, Report& report);
Status run_echo(const BenchOptions& options, Report& report);
Status run_direct(const BenchOptions& options, Report& report);
Status run_login(const BenchOptions& options, Report& report);
Status run_slow_readers(const BenchOptions& options, Report& report);
Status run_soak(const BenchOptions& options, Report& report);

}  // namespace dunlin::bench

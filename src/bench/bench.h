#pragma once

#include "bench/options.h"

namespace dunlin::bench {

// Runs one scenario: progress on stderr, the table or the JSON line on stdout. Returns the exit code: 0, 1 when a self-check or the
// run failed, 2 for a wrong option. Call it once, from the main thread of the process.
int run_bench(const BenchOptions& options);

}  // namespace dunlin::bench

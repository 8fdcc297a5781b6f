#include "bench/scenarios/scenarios.h"
namespace dunlin::bench {
Status run_store(const BenchOptions&, Report&) {
  return Error(ErrorCode::Config, "pending");
}
}  // namespace dunlin::bench

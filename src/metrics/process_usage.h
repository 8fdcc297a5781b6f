#pragma once

#include <cstdint>

namespace dunlin::metrics {

// What the kernel says of this process now; zeros where /proc cannot be read.
struct ProcessUsage {
  double cpu_seconds = 0;
  std::int64_t resident_bytes = 0;
  std::int64_t open_descriptors = 0;
  std::int64_t max_descriptors = 0;
  double start_time_seconds = 0;  // since 1970
};

ProcessUsage process_usage();

}  // namespace dunlin::metrics

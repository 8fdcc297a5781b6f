#pragma once

#include <atomic>
#include <cstdint>

namespace dunlin::metrics {

// Counts the open descriptors of this process at a price that does not grow with them. Any thread.
//
// Since Linux 6.2 the size of /proc/self/fd is their number. Before it, only a list of them all tells it, at 0.67 us each and with a
// directory entry of each in the kernel's caches: so the list is made only while there are few sockets of clients (kListedSockets), to
// learn how many other descriptors there are, and else these are taken as they were then.
class DescriptorCount {
 public:
  static constexpr std::int64_t kListedSockets = 1000;

  explicit DescriptorCount(bool kernel_counts = true) : kernel_counts_(kernel_counts) {}
  // `sockets`: those of them that are connections of clients.
  std::int64_t count(std::int64_t sockets);

 private:
  const bool kernel_counts_;
  std::atomic<std::int64_t> others_{0};
};

// What the kernel says of this process now; zeros where /proc cannot be read.
struct ProcessUsage {
  double cpu_seconds = 0;
  std::int64_t resident_bytes = 0;
  std::int64_t open_descriptors = 0;
  std::int64_t max_descriptors = 0;
  double start_time_seconds = 0;  // since 1970
};

ProcessUsage process_usage(std::int64_t sockets);

}  // namespace dunlin::metrics

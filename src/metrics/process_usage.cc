#include "metrics/process_usage.h"

#include <dirent.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <ctime>

namespace dunlin::metrics {
namespace {

double seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
}

std::int64_t resident_bytes() {
  long pages = 0;
  FILE* file = std::fopen("/proc/self/statm", "re");
  if (file == nullptr) return 0;
  if (std::fscanf(file, "%*s %ld", &pages) != 1) pages = 0;
  std::fclose(file);
  return static_cast<std::int64_t>(pages) * sysconf(_SC_PAGESIZE);
}

std::int64_t list_descriptors() {
  DIR* folder = opendir("/proc/self/fd");
  if (folder == nullptr) return 0;
  std::int64_t count = -3;  // ".", ".." and the folder's own
  while (readdir(folder) != nullptr) ++count;
  closedir(folder);
  return count;
}

// Field 22 of /proc/self/stat, in ticks since boot; the name before it may hold spaces and ends at the last ')'.
double start_time() {
  char text[1024] = {};
  FILE* file = std::fopen("/proc/self/stat", "re");
  if (file == nullptr) return 0;
  const std::size_t size = std::fread(text, 1, sizeof text - 1, file);
  std::fclose(file);
  std::size_t at = size;
  while (at > 0 && text[at - 1] != ')') --at;
  unsigned long long ticks = 0;
  const char* format = " %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu";
  if (at == 0 || std::sscanf(text + at, format, &ticks) != 1) return 0;
  timespec now{}, since_boot{};
  clock_gettime(CLOCK_REALTIME, &now);
  clock_gettime(CLOCK_BOOTTIME, &since_boot);
  const double boot = static_cast<double>(now.tv_sec - since_boot.tv_sec) + static_cast<double>(now.tv_nsec - since_boot.tv_nsec) * 1e-9;
  return boot + static_cast<double>(ticks) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

}  // namespace

std::int64_t DescriptorCount::count(std::int64_t sockets) {
  struct stat folder{};
  if (kernel_counts_ && stat("/proc/self/fd", &folder) == 0 && folder.st_size > 0) return folder.st_size;
  if (sockets > kListedSockets) return sockets + others_.load(std::memory_order_relaxed);
  const std::int64_t listed = list_descriptors();
  others_.store(listed > sockets ? listed - sockets : 0, std::memory_order_relaxed);
  return listed;
}

ProcessUsage process_usage(std::int64_t sockets) {
  static DescriptorCount descriptors;
  ProcessUsage usage;
  rusage resources{};
  if (getrusage(RUSAGE_SELF, &resources) == 0) usage.cpu_seconds = seconds(resources.ru_utime) + seconds(resources.ru_stime);
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) usage.max_descriptors = static_cast<std::int64_t>(limit.rlim_cur);
  usage.resident_bytes = resident_bytes();
  usage.open_descriptors = descriptors.count(sockets);
  static const double started = start_time();
  usage.start_time_seconds = started;
  return usage;
}

}  // namespace dunlin::metrics

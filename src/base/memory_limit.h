#pragma once

#include <cstdint>
#include <string>

namespace dunlin {

// The memory that this process may use: that of the machine, or less where a control group (a container, a unit with MemoryMax) allows
// less.
struct MemoryLimit {
  std::uint64_t bytes = 0;
  std::string from;  // the file that says so, or "machine"
};

// Looks through the process's own group and all groups above it, of both versions of control groups: memory.max, memory.high (above it the
// kernel holds the process up) and memory.limit_in_bytes. Inside a container the groups above may not be seen; the mounted root then is the
// container's own. `proc` and `groups` are for tests. Reads files of the kernel; any thread.
MemoryLimit memory_limit(const std::string& proc = "/proc/self", const std::string& groups = "/sys/fs/cgroup");

}  // namespace dunlin

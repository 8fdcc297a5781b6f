#include "base/memory_limit.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <string_view>
#include <vector>

namespace dunlin {
namespace {

std::uint64_t machine_bytes() {
  const long pages = ::sysconf(_SC_PHYS_PAGES);
  const long page = ::sysconf(_SC_PAGESIZE);
  return pages > 0 && page > 0 ? static_cast<std::uint64_t>(pages) * static_cast<std::uint64_t>(page) : 1ULL << 30;
}

// "max" and what cannot be read are no limit.
void lower(MemoryLimit& limit, const std::string& path) {
  std::ifstream file(path);
  std::string text;
  if (!(file >> text)) return;
  std::uint64_t bytes = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), bytes);
  if (error != std::errc() || end != text.data() + text.size() || bytes == 0 || bytes >= limit.bytes) return;
  limit = {bytes, path};
}

// The group at `path` below `mount`, and all above it.
void lower_by_groups(MemoryLimit& limit, const std::string& mount, std::string path, const std::vector<std::string_view>& files) {
  while (true) {
    while (path.ends_with('/')) path.pop_back();
    for (const std::string_view file : files) lower(limit, mount + path + "/" + std::string(file));
    const auto parent = path.rfind('/');
    if (parent == std::string::npos) return;
    path.resize(parent);
  }
}

bool names(std::string_view controllers, std::string_view wanted) {
  while (!controllers.empty()) {
    const auto comma = std::min(controllers.find(','), controllers.size());
    if (controllers.substr(0, comma) == wanted) return true;
    controllers.remove_prefix(std::min(comma + 1, controllers.size()));
  }
  return false;
}

}  // namespace

MemoryLimit memory_limit(const std::string& proc, const std::string& groups) {
  MemoryLimit limit{machine_bytes(), "machine"};
  std::ifstream file(proc + "/cgroup");
  // A line is "number:controllers:path"; version 2 has number 0 and no controllers.
  for (std::string line; std::getline(file, line);) {
    const auto first = line.find(':');
    const auto second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string_view controllers = std::string_view(line).substr(first + 1, second - first - 1);
    const std::string path = line.substr(second + 1);
    if (controllers.empty()) {
      lower_by_groups(limit, groups, path, {"memory.max", "memory.high"});
      lower_by_groups(limit, groups + "/unified", path, {"memory.max", "memory.high"});
    } else if (names(controllers, "memory")) {
      lower_by_groups(limit, groups + "/memory", path, {"memory.limit_in_bytes"});
    }
  }
  return limit;
}

}  // namespace dunlin

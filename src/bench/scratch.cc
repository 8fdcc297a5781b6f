#include "bench/scratch.h"

#include <linux/magic.h>
#include <sys/vfs.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <system_error>

namespace dunlin::bench {
namespace {

bool is_disk(const char* path) {
  struct statfs info{};
  if (::statfs(path, &info) != 0) return false;
  return info.f_type != TMPFS_MAGIC && info.f_type != RAMFS_MAGIC;
}

}  // namespace

Result<ScratchFolder> ScratchFolder::create() {
  const char* from_environment = std::getenv("TMPDIR");
  for (const char* parent : {from_environment ? from_environment : "/tmp", "/tmp", "/var/tmp", "."}) {
    if (!is_disk(parent)) continue;
    std::string path = std::string(parent) + "/dunlin-bench-XXXXXX";
    if (::mkdtemp(path.data()) == nullptr) continue;
    return ScratchFolder(std::filesystem::absolute(path).string());
  }
  return errno_error("making a folder on disk for the benchmark", errno);
}

ScratchFolder& ScratchFolder::operator=(ScratchFolder&& other) noexcept {
  if (this != &other) {
    remove();
    path_ = std::move(other.path_);
    other.path_.clear();
  }
  return *this;
}

void ScratchFolder::remove() {
  if (path_.empty()) return;
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
  path_.clear();
}

}  // namespace dunlin::bench

#include "server/watched_files.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <utility>

namespace dunlin {

WatchedFiles::WatchedFiles(std::vector<std::string> paths) : paths_(std::move(paths)), used_(stamp()), seen_(used_) {}

bool WatchedFiles::changed() {
  std::string now = stamp();
  const bool at_rest = now == seen_;
  seen_ = std::move(now);
  return at_rest && seen_ != used_;
}

std::string WatchedFiles::stamp() const {
  std::string all;
  for (const std::string& path : paths_) {
    struct stat file{};
    if (stat(path.c_str(), &file) != 0) {
      all += "missing;";
      continue;
    }
    all += fmt::format("{}.{}.{}.{}.{}.{}.{};", file.st_dev, file.st_ino, file.st_size, file.st_mtim.tv_sec, file.st_mtim.tv_nsec,
                       file.st_ctim.tv_sec, file.st_ctim.tv_nsec);
  }
  return all;
}

}  // namespace dunlin

#pragma once

#include <string>

#include "base/result.h"

namespace dunlin::bench {

// A new empty folder on a real disk (never tmpfs, whose fsync costs nothing), removed with all that it holds when this goes away.
class ScratchFolder {
 public:
  // Under $TMPDIR, /tmp, /var/tmp or the working folder: the first that is not memory.
  static Result<ScratchFolder> create();

  ScratchFolder(ScratchFolder&& other) noexcept : path_(std::move(other.path_)) { other.path_.clear(); }
  ScratchFolder& operator=(ScratchFolder&& other) noexcept;
  ScratchFolder(const ScratchFolder&) = delete;
  ~ScratchFolder() { remove(); }

  const std::string& path() const { return path_; }
  std::string file(std::string_view name) const { return path_ + "/" + std::string(name); }

 private:
  explicit ScratchFolder(std::string path) : path_(std::move(path)) {}
  void remove();

  std::string path_;
};

}  // namespace dunlin::bench

#pragma once

#include <optional>
#include <string>

#include "base/result.h"

namespace dunlin::embedded {

// Holds <data>/LOCK, which contains our pid, until destroyed; the kernel gives it up when the process dies. Busy names the holder.
class DataLock {
 public:
  static Result<DataLock> acquire(const std::string& folder);
  // Keeps servers out of a folder that is only read; nothing for one without LOCK, which is a backup. Writes nothing.
  static Result<std::optional<DataLock>> share(const std::string& folder);
  DataLock(DataLock&& other) noexcept;
  DataLock& operator=(DataLock&& other) noexcept;
  ~DataLock();

 private:
  explicit DataLock(int fd) : fd_(fd) {}
  int fd_ = -1;
};

}  // namespace dunlin::embedded

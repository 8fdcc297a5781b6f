#include "storage/embedded/data_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <string>
#include <utility>

namespace dunlin::embedded {

namespace {

Error held(int fd, const std::string& folder) {
  char text[32] = {};
  const ssize_t size = ::pread(fd, text, sizeof text - 1, 0);
  std::string pid(text, size > 0 ? static_cast<std::size_t>(size) : 0);
  while (!pid.empty() && pid.back() == '\n') pid.pop_back();
  return Error(ErrorCode::Busy, "data folder " + folder + " is in use by process " + pid);
}

}  // namespace

Result<DataLock> DataLock::acquire(const std::string& folder) {
  const std::string path = folder + "/LOCK";
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return errno_error("opening " + path, errno);
  DataLock lock(fd);
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    const int failed = errno;
    if (failed != EWOULDBLOCK) return errno_error("locking " + path, failed);
    return held(fd, folder);
  }
  // In this order, so that on a full disk the block that holds the pid of the one before is not let go. A new file gets none there: the
  // lock holds all the same.
  const std::string pid = std::to_string(::getpid()) + "\n";
  const bool written = ::pwrite(fd, pid.data(), pid.size(), 0) == static_cast<ssize_t>(pid.size());
  if (!written && errno != ENOSPC && errno != EDQUOT) return errno_error("writing " + path, errno);
  if (::ftruncate(fd, written ? static_cast<off_t>(pid.size()) : 0) != 0) return errno_error("writing " + path, errno);
  return lock;
}

Result<std::optional<DataLock>> DataLock::share(const std::string& folder) {
  const std::string path = folder + "/LOCK";
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0 && errno == ENOENT) return std::optional<DataLock>();
  if (fd < 0) return errno_error("opening " + path, errno);
  std::optional<DataLock> lock(DataLock{fd});
  if (::flock(fd, LOCK_SH | LOCK_NB) == 0) return lock;
  if (errno != EWOULDBLOCK) return errno_error("locking " + path, errno);
  return held(fd, folder);
}

DataLock::DataLock(DataLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

DataLock& DataLock::operator=(DataLock&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

DataLock::~DataLock() {
  if (fd_ >= 0) ::close(fd_);
}

}  // namespace dunlin::embedded

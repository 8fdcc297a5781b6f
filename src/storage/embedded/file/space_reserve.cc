#include "storage/embedded/file/space_reserve.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/log.h"
#include "storage/embedded/file/file_system.h"

namespace dunlin::embedded {
namespace {

std::uint64_t wanted_bytes(const DiskSpace& disk) {
  return std::clamp<std::uint64_t>(disk.total_bytes / 64, 1ULL << 20, kReserveBytes);
}

std::string reserve_path(const std::string& data_folder) {
  return data_folder + "/reserve";
}

}  // namespace

void give_reserve(const std::string& data_folder) {
  FileSystem& files = posix_file_system();
  const auto before = files.space(data_folder);
  if (!before.ok() || before->free_bytes >= wanted_bytes(*before)) return;
  const bool given = files.remove(reserve_path(data_folder)).ok();
  const auto after = files.space(data_folder);
  log_warn(
      "store",
      given ? "the disk is full: the start uses the space that is kept for it" : "the disk is full, and no space is kept for the start",
      {{"free_bytes", before->free_bytes}, {"now", after.ok() ? after->free_bytes : 0}});
}

void take_reserve(const std::string& data_folder) {
  const auto disk = posix_file_system().space(data_folder);
  if (!disk.ok()) return;
  const int fd = ::open(reserve_path(data_folder).c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return;
  struct stat info{};
  std::uint64_t held = ::fstat(fd, &info) == 0 ? static_cast<std::uint64_t>(info.st_size) : 0;
  // In steps, so that as much as there is is taken; blocks, not only a size.
  constexpr std::uint64_t kStep = 256 << 10;
  const std::uint64_t wanted = wanted_bytes(*disk);
  if (wanted > held && ::fallocate(fd, 0, static_cast<off_t>(held), static_cast<off_t>(wanted - held)) == 0) held = wanted;
  const std::string zeros(kStep, '\0');
  while (held < wanted) {
    const std::uint64_t step = std::min(kStep, wanted - held);
    const bool taken = ::fallocate(fd, 0, static_cast<off_t>(held), static_cast<off_t>(step)) == 0 ||
                       (errno == EOPNOTSUPP && ::pwrite(fd, zeros.data(), step, static_cast<off_t>(held)) == static_cast<ssize_t>(step));
    if (!taken) break;
    held += step;
  }
  ::close(fd);
}

}  // namespace dunlin::embedded

#include "storage/embedded/file/space_reserve.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/log.h"

namespace dunlin::embedded {
namespace {

std::uint64_t wanted_bytes(const struct statvfs& disk) {
  return std::clamp<std::uint64_t>(static_cast<std::uint64_t>(disk.f_blocks) * disk.f_frsize / 64, 1ULL << 20, kReserveBytes);
}

bool is_full(const struct statvfs& disk) {
  const bool few_bytes = static_cast<std::uint64_t>(disk.f_bavail) * disk.f_frsize < wanted_bytes(disk);
  const bool few_files = disk.f_files != 0 && disk.f_favail < kReserveFiles;  // 0: this file system makes room for files as it needs
  return few_bytes || few_files;
}

std::string file_path(const std::string& data_folder, std::size_t number) {
  return data_folder + "/reserve-" + std::to_string(number);
}

std::string reserve_path(const std::string& data_folder) {
  return data_folder + "/reserve";
}

}  // namespace

void give_reserve(const std::string& data_folder) {
  struct statvfs disk{};
  if (::statvfs(data_folder.c_str(), &disk) != 0 || !is_full(disk)) return;
  const bool given = ::unlink(reserve_path(data_folder).c_str()) == 0;
  for (std::size_t i = 0; i < kReserveFiles; ++i) ::unlink(file_path(data_folder, i).c_str());
  log_warn(
      "store",
      given ? "the disk is full: the start uses the space that is kept for it" : "the disk is full, and no space is kept for the start",
      {{"free_bytes", static_cast<std::uint64_t>(disk.f_bavail) * disk.f_frsize}, {"free_files", disk.f_favail}});
}

void take_reserve(const std::string& data_folder) {
  struct statvfs disk{};
  if (::statvfs(data_folder.c_str(), &disk) != 0) return;
  for (std::size_t i = 0; i < kReserveFiles; ++i) {
    const int file = ::open(file_path(data_folder, i).c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0) break;
    ::close(file);
  }
  const int fd = ::open(reserve_path(data_folder).c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return;
  struct stat info{};
  std::uint64_t held = ::fstat(fd, &info) == 0 ? static_cast<std::uint64_t>(info.st_size) : 0;
  // In steps, so that as much as there is is taken; blocks, not only a size.
  constexpr std::uint64_t kStep = 256 << 10;
  const std::uint64_t wanted = wanted_bytes(disk);
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

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdio>

#include "storage/embedded/file/file_system.h"

namespace dunlin::embedded {
namespace {

// The kernel's name of its own life: 128 bits in hex with dashes. Nothing when it does not say.
bool read_boot_id(std::uint64_t (&boot)[2]) {
  const int fd = ::open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  char text[64];
  const ssize_t size = ::read(fd, text, sizeof text);
  ::close(fd);
  int digits = 0;
  for (ssize_t i = 0; i < size; ++i) {
    const char c = text[i];
    if (std::isxdigit(static_cast<unsigned char>(c)) == 0) continue;
    const int value = c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
    if (digits < 32) boot[digits / 16] = boot[digits / 16] << 4 | static_cast<unsigned>(value);
    ++digits;
  }
  return digits == 32;
}

class PosixFile final : public File {
 public:
  PosixFile(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
  ~PosixFile() override { ::close(fd_); }
  PosixFile(const PosixFile&) = delete;
  PosixFile& operator=(const PosixFile&) = delete;

  Status read(std::uint64_t offset, std::size_t bytes, std::string& out) override {
    const std::size_t before = out.size();
    out.resize(before + bytes);
    std::size_t done = 0;
    while (done < bytes) {
      const ssize_t n = ::pread(fd_, out.data() + before + done, bytes - done, static_cast<off_t>(offset + done));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) {
        out.resize(before);
        return errno_error("reading " + path_, errno);
      }
      if (n == 0) break;
      done += static_cast<std::size_t>(n);
    }
    out.resize(before + done);
    return {};
  }

  Status write(std::uint64_t offset, std::string_view bytes) override {
    while (!bytes.empty()) {
      const ssize_t n = ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return errno_error("writing " + path_, n == 0 ? ENOSPC : errno);
      bytes.remove_prefix(static_cast<std::size_t>(n));
      offset += static_cast<std::uint64_t>(n);
    }
    return {};
  }

  Status sync_data() override {
    if (::fdatasync(fd_) != 0) return errno_error("fdatasync of " + path_, errno);
    return {};
  }

  Status truncate(std::uint64_t size) override {
    if (::ftruncate(fd_, static_cast<off_t>(size)) != 0) return errno_error("truncating " + path_, errno);
    return {};
  }

  Result<std::uint64_t> size() override {
    struct stat info{};
    if (::fstat(fd_, &info) != 0) return errno_error("stat of " + path_, errno);
    return static_cast<std::uint64_t>(info.st_size);
  }

 private:
  const int fd_;
  const std::string path_;
};

class PosixFileSystem final : public FileSystem {
 public:
  Result<std::unique_ptr<File>> open(const std::string& path, OpenMode mode) override {
    const int flags = mode == OpenMode::Read ? O_RDONLY : mode == OpenMode::Write ? O_RDWR : O_RDWR | O_CREAT;
    const int fd = ::open(path.c_str(), flags | O_CLOEXEC, 0600);
    if (fd < 0) return errno_error("opening " + path, errno);
    return std::unique_ptr<File>(std::make_unique<PosixFile>(fd, path));
  }

  Status rename(const std::string& from, const std::string& to) override {
    if (std::rename(from.c_str(), to.c_str()) != 0) return errno_error("renaming " + from, errno);
    return {};
  }

  Status remove(const std::string& path) override {
    if (::unlink(path.c_str()) != 0) return errno_error("removing " + path, errno);
    return {};
  }

  Status make_folder(const std::string& path) override {
    if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return errno_error("making folder " + path, errno);
    return {};
  }

  Status sync_folder(const std::string& path) override {
    const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return errno_error("opening folder " + path, errno);
    const int failed = ::fsync(fd) != 0 ? errno : 0;
    ::close(fd);
    if (failed != 0) return errno_error("fsync of folder " + path, failed);
    return {};
  }

  Result<std::vector<std::string>> list(const std::string& folder) override {
    std::vector<std::string> names;
    DIR* dir = ::opendir(folder.c_str());
    if (dir == nullptr) {
      if (errno == ENOENT) return names;
      return errno_error("listing " + folder, errno);
    }
    errno = 0;
    while (const dirent* entry = ::readdir(dir)) {
      const std::string_view name = entry->d_name;
      if (name != "." && name != "..") names.emplace_back(name);
      errno = 0;
    }
    const int failed = errno;
    ::closedir(dir);
    if (failed != 0) return errno_error("listing " + folder, failed);
    std::sort(names.begin(), names.end());
    return names;
  }

  Result<DiskSpace> space(const std::string& path) override {
    struct statvfs info{};
    if (::statvfs(path.c_str(), &info) != 0) return errno_error("statvfs of " + path, errno);
    return DiskSpace{static_cast<std::uint64_t>(info.f_bavail) * info.f_frsize, static_cast<std::uint64_t>(info.f_blocks) * info.f_frsize};
  }

  std::optional<CacheLife> cache_life(const std::string& folder) override {
    CacheLife life;
    struct stat info{};
    struct statfs kind{};
    if (!read_boot_id(life.boot) || ::stat(folder.c_str(), &info) != 0 || ::statfs(folder.c_str(), &kind) != 0) return std::nullopt;
    if (kind.f_type == FUSE_SUPER_MAGIC) return std::nullopt;  // a process of its own may hold them, and die
    life.device = info.st_dev;
    life.inode = info.st_ino;
    return life;
  }
};

}  // namespace

FileSystem& posix_file_system() {
  static PosixFileSystem system;
  return system;
}

}  // namespace dunlin::embedded

#include "server/faults.h"

#include <cerrno>
#include <chrono>
#include <csignal>

namespace dunlin {
namespace {

using embedded::DiskSpace;
using embedded::File;
using embedded::FileSystem;
using embedded::OpenMode;

class FaultyFile final : public File {
 public:
  FaultyFile(Faults& faults, std::unique_ptr<File> file, std::string path)
      : faults_(faults), file_(std::move(file)), path_(std::move(path)) {}

  Status read(std::uint64_t offset, std::size_t bytes, std::string& out) override {
    TRY(faults_.before("read", path_));
    return file_->read(offset, bytes, out);
  }
  Status write(std::uint64_t offset, std::string_view bytes) override {
    TRY(faults_.before("write", path_));
    return file_->write(offset, bytes);
  }
  Status sync_data() override {
    TRY(faults_.before("fdatasync", path_));
    return file_->sync_data();
  }
  Status truncate(std::uint64_t size) override {
    TRY(faults_.before("truncate", path_));
    return file_->truncate(size);
  }
  Result<std::uint64_t> size() override { return file_->size(); }

 private:
  Faults& faults_;
  const std::unique_ptr<File> file_;
  const std::string path_;
};

class FaultyFileSystem final : public FileSystem {
 public:
  explicit FaultyFileSystem(Faults& faults) : faults_(faults) {}

  Result<std::unique_ptr<File>> open(const std::string& path, OpenMode mode) override {
    TRY(faults_.before("open", path));
    TRY_ASSIGN(auto file, inner_.open(path, mode));
    return std::unique_ptr<File>(std::make_unique<FaultyFile>(faults_, std::move(file), path));
  }
  Status rename(const std::string& from, const std::string& to) override {
    TRY(faults_.before("rename", from));
    return inner_.rename(from, to);
  }
  Status remove(const std::string& path) override {
    TRY(faults_.before("unlink", path));
    return inner_.remove(path);
  }
  Status make_folder(const std::string& path) override { return inner_.make_folder(path); }
  Status sync_folder(const std::string& path) override {
    TRY(faults_.before("fsync", path));
    return inner_.sync_folder(path);
  }
  Result<std::vector<std::string>> list(const std::string& folder) override { return inner_.list(folder); }
  Result<DiskSpace> space(const std::string& path) override { return inner_.space(path); }
  std::optional<embedded::CacheLife> cache_life(const std::string& folder) override { return inner_.cache_life(folder); }

 private:
  Faults& faults_;
  FileSystem& inner_ = embedded::posix_file_system();
};

}  // namespace

Faults::Faults() : file_system_(std::make_unique<FaultyFileSystem>(*this)) {}
Faults::~Faults() = default;

void Faults::apply(const DebugConfig& debug) {
  MutexLock lock(mutex_);
  crash_at_ = debug.crash_at;
  io_error_at_ = debug.io_error_at;
  store_delay_ms_ = debug.store_delay_ms;
  any_.store(!crash_at_.empty() || !io_error_at_.empty() || store_delay_ms_ > 0, std::memory_order_relaxed);
  changed_.notify_all();
}

void Faults::reached(std::string_view point) {
  if (!any_.load(std::memory_order_relaxed)) return;
  MutexLock lock(mutex_);
  if (!crash_at_.empty() && point == crash_at_) raise(SIGKILL);
}

Status Faults::before(std::string_view call, const std::string& path) {
  if (!any_.load(std::memory_order_relaxed)) return {};
  MutexLock lock(mutex_);
  if (!io_error_at_.empty() && call == io_error_at_) return errno_error("injected at " + path, EIO);
  if (call != "fdatasync") return {};
  const auto begun = std::chrono::steady_clock::now();
  // Switching the fault off, or the delay down, ends the waiting early.
  for (;;) {
    const auto left = std::chrono::milliseconds(store_delay_ms_) - (std::chrono::steady_clock::now() - begun);
    if (left.count() <= 0) return {};
    changed_.wait_for(mutex_, left);
  }
}

}  // namespace dunlin

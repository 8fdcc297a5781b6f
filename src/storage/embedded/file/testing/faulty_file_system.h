#pragma once

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "base/thread_annotations.h"
#include "storage/embedded/file/file_system.h"

namespace dunlin::embedded {

// A file system in memory that loses power and fails as told: the test double of FileSystem. Any thread.
//
// It remembers what was synced. restart() gives back that, plus random 512-byte sectors of what was written since, and a random choice of
// the changes of names since their folder was synced. What was written before a failed sync stays uncertain for ever, though reads show
// it and a later sync succeeds: as kernels do, which drop the dirty pages of a failed write-back.
class FaultyFileSystem final : public FileSystem {
 public:
  enum class Call : std::uint8_t { Open, Read, Write, Sync, Truncate, Rename, Remove, MakeFolder, SyncFolder, List };
  static constexpr std::size_t kCalls = 10;

  explicit FaultyFileSystem(std::uint64_t seed) : random_(seed) {}

  // The `skip + 1`-th call of the kind from now on fails, and `times - 1` after it. A failing write writes a random part.
  void fail(Call call, std::uint64_t skip, ErrorCode code, std::uint64_t times = 1) EXCLUDES(mutex_);
  void heal() EXCLUDES(mutex_);
  // After that many more changing calls the power is gone: the last one is half done, every later call fails.
  void cut_power_after(std::uint64_t changes) EXCLUDES(mutex_);
  bool power_is_cut() const EXCLUDES(mutex_);
  // The machine starts again. Files that are open from before fail for ever.
  void restart() EXCLUDES(mutex_);
  // The process dies (kill -9), the machine stays up: everything written is there.
  void kill() EXCLUDES(mutex_);

  // Reads that take in that byte of the file fail, until it is healed.
  void spoil(const std::string& path, std::uint64_t offset) EXCLUDES(mutex_);

  void set_space(DiskSpace space) EXCLUDES(mutex_);
  std::string content(const std::string& path) EXCLUDES(mutex_);
  void set_content(const std::string& path, std::string content) EXCLUDES(mutex_);  // durable at once
  std::uint64_t calls(Call call) const EXCLUDES(mutex_);

  Result<std::unique_ptr<File>> open(const std::string& path, OpenMode mode) override;
  Status rename(const std::string& from, const std::string& to) override;
  Status remove(const std::string& path) override;
  Status make_folder(const std::string& path) override;
  Status sync_folder(const std::string& path) override;
  Result<std::vector<std::string>> list(const std::string& folder) override;
  Result<DiskSpace> space(const std::string& path) override;
  std::optional<CacheLife> cache_life(const std::string& folder) override EXCLUDES(mutex_);

 private:
  friend class FaultyFile;
  enum class State : std::uint8_t { Pending, Durable, Uncertain };
  struct Change {
    std::uint64_t offset = 0;
    std::string bytes;
    bool truncate = false;  // to `offset`
    State state = State::Pending;
  };
  struct Inode {
    std::string content;          // what reads show
    std::string base;             // durable, before all of `changes`
    std::vector<Change> changes;  // in order
    std::optional<std::uint64_t> spoilt;
  };
  using InodePtr = std::shared_ptr<Inode>;
  struct NameChange {
    std::string folder;
    std::string removed;  // "" = none
    std::string added;
    InodePtr inode;
  };
  struct Fault {
    std::uint64_t skip = 0;
    std::uint64_t times = 0;
    ErrorCode code = ErrorCode::Io;
  };

  Status admit(Call call, bool* half_done) REQUIRES(mutex_);
  void change_names(NameChange change) REQUIRES(mutex_);
  static void apply(std::string& content, const Change& change);
  void apply_torn(std::string& content, const Change& change) REQUIRES(mutex_);
  void settle(Inode& inode) REQUIRES(mutex_);
  std::uint64_t random(std::uint64_t below) REQUIRES(mutex_) { return random_() % below; }

  mutable Mutex mutex_;
  std::mt19937_64 random_ GUARDED_BY(mutex_);
  std::map<std::string, InodePtr> names_ GUARDED_BY(mutex_);
  std::map<std::string, InodePtr> durable_names_ GUARDED_BY(mutex_);
  std::vector<NameChange> name_changes_ GUARDED_BY(mutex_);
  std::array<Fault, kCalls> faults_ GUARDED_BY(mutex_);
  std::array<std::uint64_t, kCalls> calls_ GUARDED_BY(mutex_){};
  std::uint64_t changes_left_ GUARDED_BY(mutex_) = UINT64_MAX;
  bool cut_ GUARDED_BY(mutex_) = false;
  std::uint64_t life_ GUARDED_BY(mutex_) = 0;  // a file of an earlier life fails
  std::uint64_t boots_ GUARDED_BY(mutex_) = 1;
  DiskSpace space_ GUARDED_BY(mutex_){1ULL << 40, 1ULL << 40};
};

}  // namespace dunlin::embedded

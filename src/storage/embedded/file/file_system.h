#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace dunlin::embedded {

// One open file. Not thread-safe, but for sync calls beside reads.
class File {
 public:
  virtual ~File() = default;

  // Appends up to `bytes` from `offset` to `out`; fewer only at the end of the file.
  virtual Status read(std::uint64_t offset, std::size_t bytes, std::string& out) = 0;
  // All or an error; after an error any part may have been written.
  virtual Status write(std::uint64_t offset, std::string_view bytes) = 0;
  // Content and what is needed to read it back. After an error nothing written since the last success may ever be believed durable.
  virtual Status sync_data() = 0;
  virtual Status truncate(std::uint64_t size) = 0;
  virtual Result<std::uint64_t> size() = 0;
};

enum class OpenMode : std::uint8_t { Read, Write, Create };  // Create: read and write, made when missing, kept when there

struct DiskSpace {
  std::uint64_t free_bytes = 0;
  std::uint64_t total_bytes = 0;
};

// Which cache of the kernel holds what was written to a folder's files and not synced, and which folder that is. The same value twice: that
// cache has lived all the time in between, whatever process came and went. It cannot tell a file system that has lost its device meanwhile.
struct CacheLife {
  std::uint64_t boot[2] = {};  // the running kernel
  std::uint64_t device = 0;    // of the folder; a copy has another inode, a snapshot another device
  std::uint64_t inode = 0;
  bool operator==(const CacheLife&) const = default;
};

// All file work of the log goes through here, so that tests can cut the power and fail any call (faulty_file_system.h). Any thread.
// Changes of names (create, rename, remove) are durable only after sync_folder() of their folder.
class FileSystem {
 public:
  virtual ~FileSystem() = default;

  virtual Result<std::unique_ptr<File>> open(const std::string& path, OpenMode mode) = 0;
  virtual Status rename(const std::string& from, const std::string& to) = 0;
  virtual Status remove(const std::string& path) = 0;
  virtual Status make_folder(const std::string& path) = 0;  // fine when it exists
  virtual Status sync_folder(const std::string& path) = 0;
  virtual Result<std::vector<std::string>> list(const std::string& folder) = 0;  // names, sorted; empty when missing
  virtual Result<DiskSpace> space(const std::string& path) = 0;
  // Nothing: not known, or the file system keeps unwritten bytes elsewhere than in the kernel.
  virtual std::optional<CacheLife> cache_life(const std::string& folder) = 0;
};

// The operating system's. One for the process.
FileSystem& posix_file_system();

}  // namespace dunlin::embedded

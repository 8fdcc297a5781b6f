#include "storage/embedded/history/rocks.h"

#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/file_system.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/listener.h>
#include <rocksdb/slice_transform.h>
#include <rocksdb/table.h>
#include <rocksdb/utilities/checkpoint.h>

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <filesystem>
#include <memory>

#include "base/log.h"
#include "storage/embedded/history/covered_rows.h"
#include "storage/embedded/history/newest_position.h"
#include "storage/embedded/history/rows.h"

namespace dunlin::embedded {
namespace {

// The user of an activity or list key, with its size before it: what the filters of those families hold.
class UserPrefix final : public rocksdb::SliceTransform {
 public:
  const char* Name() const override { return "dunlin.user.1"; }
  rocksdb::Slice Transform(const rocksdb::Slice& key) const override { return {key.data(), user_prefix_bytes({key.data(), key.size()})}; }
  bool InDomain(const rocksdb::Slice& key) const override { return user_prefix_bytes({key.data(), key.size()}) != 0; }
};

class Log final : public rocksdb::Logger {
 public:
  explicit Log(const char* area) : Logger(rocksdb::ERROR_LEVEL), area_(area) {}
  using rocksdb::Logger::Logv;
  void Logv(const rocksdb::InfoLogLevel level, const char* format, va_list arguments) override {
    if (level < rocksdb::ERROR_LEVEL || level == rocksdb::HEADER_LEVEL) return;
    Logv(format, arguments);
  }
  void Logv(const char* format, va_list arguments) override {
    char text[400];
    const int size = std::vsnprintf(text, sizeof text, format, arguments);
    if (size > 0) log_error(area_, "rocksdb", {{"text", std::string_view(text)}});
  }

 private:
  const char* const area_;
};

class MachineFiles final : public rocksdb::FileSystemWrapper {
 public:
  using FileSystemWrapper::FileSystemWrapper;
  using Debug = rocksdb::IODebugContext;
  template <class T>
  using Out = std::unique_ptr<T>*;

  const char* Name() const override { return "dunlin.MachineFiles"; }

  rocksdb::IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions& options, Out<rocksdb::FSWritableFile> file,
                                    Debug* debug) override {
    return narrowed(FileSystemWrapper::NewWritableFile(path, options, file, debug), path, 0600);
  }
  rocksdb::IOStatus ReopenWritableFile(const std::string& path, const rocksdb::FileOptions& options, Out<rocksdb::FSWritableFile> file,
                                       Debug* debug) override {
    return narrowed(FileSystemWrapper::ReopenWritableFile(path, options, file, debug), path, 0600);
  }
  rocksdb::IOStatus LockFile(const std::string& path, const rocksdb::IOOptions& options, rocksdb::FileLock** lock, Debug* debug) override {
    return narrowed(FileSystemWrapper::LockFile(path, options, lock, debug), path, 0600);
  }
  rocksdb::IOStatus CreateDir(const std::string& path, const rocksdb::IOOptions& options, Debug* debug) override {
    return narrowed(FileSystemWrapper::CreateDir(path, options, debug), path, 0700);
  }
  rocksdb::IOStatus CreateDirIfMissing(const std::string& path, const rocksdb::IOOptions& options, Debug* debug) override {
    return narrowed(FileSystemWrapper::CreateDirIfMissing(path, options, debug), path, 0700);
  }
  // RocksDB copies where this is not supported. Of its own accord it takes only another volume for that.
  rocksdb::IOStatus LinkFile(const std::string& from, const std::string& to, const rocksdb::IOOptions& options, Debug* debug) override {
    if (::link(from.c_str(), to.c_str()) == 0) return rocksdb::IOStatus::OK();
    if (errno == EPERM || errno == EXDEV || errno == EOPNOTSUPP || errno == ENOSYS || errno == EMLINK) {
      return rocksdb::IOStatus::NotSupported(to);
    }
    return FileSystemWrapper::LinkFile(from, to, options, debug);  // once more, for RocksDB's own words
  }

 private:
  static rocksdb::IOStatus narrowed(rocksdb::IOStatus made, const std::string& path, mode_t mode) {
    struct stat info{};
    // What belongs to someone else stays as it is: a start names it (owner_only.h).
    if (made.ok() && ::stat(path.c_str(), &info) == 0 && (info.st_mode & 077) != 0) static_cast<void>(::chmod(path.c_str(), mode));
    return made;
  }
};

std::size_t block_bytes(Family family) {
  return family == Family::Timeline ? 16 * 1024 : 8 * 1024;
}

}  // namespace

std::shared_ptr<rocksdb::Logger> rocks_log(const char* area) {
  return std::make_shared<Log>(area);
}

std::shared_ptr<rocksdb::FileSystem> machine_files() {
  static const auto files = std::make_shared<MachineFiles>(rocksdb::FileSystem::Default());
  return files;
}

rocksdb::DBOptions history_db_options(std::shared_ptr<rocksdb::EventListener> listener) {
  rocksdb::DBOptions options;
  options.create_if_missing = true;
  options.create_missing_column_families = true;
  // Off so that one damaged or missing file neither refuses the start nor stops compaction of the others: what was damaged is found
  // where it is read. RocksDB's own metadata (CURRENT, MANIFEST) is checked all the same.
  options.paranoid_checks = false;
  options.max_open_files = 1024;
  options.max_background_jobs = 2;
  options.compaction_readahead_size = 1 << 20;
  options.bytes_per_sync = 1 << 20;  // no burst of dirty pages beside the log's fdatasync
  options.allow_fallocate = false;   // space is taken when it is used, so that little of it is enough to heal
  options.manifest_preallocation_size = 64 << 10;
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  options.skip_stats_update_on_db_open = true;
  options.info_log = rocks_log("history");
  options.max_manifest_file_size = 16 << 20;
  options.max_bgerror_resume_count = 0;  // the next write tries again (Damage), no thread of RocksDB's own
  if (listener) options.listeners.push_back(std::move(listener));
  return options;
}

void lower_compaction_priority() {
  rocksdb::Env::Default()->LowerThreadPoolCPUPriority(rocksdb::Env::LOW, rocksdb::CpuPriority::kIdle).PermitUncheckedError();
}

rocksdb::ColumnFamilyOptions history_column_options(Family family, const std::shared_ptr<rocksdb::Cache>& cache) {
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = cache;
  table.cache_index_and_filter_blocks = true;  // so that the cache's bound holds for them too
  table.cache_index_and_filter_blocks_with_high_priority = true;
  table.format_version = 5;
  table.block_size = block_bytes(family);
  rocksdb::ColumnFamilyOptions options;
  switch (family) {
    case Family::Timeline:
      options.prefix_extractor.reset(rocksdb::NewFixedPrefixTransform(kTimelinePrefixBytes));
      table.whole_key_filtering = false;
      break;
    case Family::Activity:
    case Family::List:
      options.prefix_extractor = std::make_shared<UserPrefix>();
      table.whole_key_filtering = false;
      break;
    case Family::Meta:
    case Family::Heads:
    case Family::Dedup: break;
  }
  if (family == Family::Timeline || family == Family::Activity) {
    options.table_properties_collector_factories.push_back(newest_position_collector(family));
  }
  if (family == Family::Timeline) options.table_properties_collector_factories.push_back(covered_rows_collector());
  if (family != Family::Meta) table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  options.compression = rocksdb::kNoCompression;
  options.write_buffer_size = 64 << 10;  // nothing is ever put into a memtable
  // Lazy and wide: when `runs` files wait, those of about one size (at least a third of them) are merged into one of the next size,
  // which is left alone until there are many such; so a row is rewritten once for each size. Dedup is read least.
  const int runs = family == Family::Dedup ? 48 : 32;
  options.compaction_style = rocksdb::kCompactionStyleUniversal;
  options.num_levels = 1;
  options.compaction_options_universal.min_merge_width = static_cast<unsigned>(runs) / 3;
  // Merges run at idle priority, so on a busy machine hundreds of files may wait; each input takes its read-ahead.
  options.compaction_options_universal.max_merge_width = static_cast<unsigned>(runs);
  options.compaction_options_universal.stop_style = rocksdb::kCompactionStopStyleSimilarSize;
  options.compaction_options_universal.size_ratio = 150;
  // Only heads are ever overwritten; elsewhere merging all frees nothing.
  options.compaction_options_universal.max_size_amplification_percent = family == Family::Heads ? 1000 : 1 << 30;
  options.level0_file_num_compaction_trigger = runs;
  options.level0_slowdown_writes_trigger = 1 << 20;
  options.level0_stop_writes_trigger = 1 << 20;
  options.soft_pending_compaction_bytes_limit = 0;
  options.hard_pending_compaction_bytes_limit = 0;
  return options;
}

bool is_damage(const rocksdb::Status& status) {
  return status.IsCorruption() || status.IsPathNotFound();
}

bool is_io_failure(const rocksdb::Status& status) {
  // At an open RocksDB makes an invalid argument of a CURRENT that it cannot open.
  return (status.IsIOError() || status.IsInvalidArgument()) && !is_damage(status);
}

Error rocks_error(std::string_view what, const rocksdb::Status& status) {
  ErrorCode code = ErrorCode::Io;
  if (is_damage(status)) code = ErrorCode::Corrupt;
  if (status.IsNoSpace()) code = ErrorCode::NoSpace;
  return Error(code, std::string(what) + ": " + status.ToString());
}

Status make_checkpoint(rocksdb::DB& db, const std::string& folder, std::string_view what) {
  namespace fs = std::filesystem;
  std::error_code error;
  if (fs::exists(folder, error) && !fs::remove(folder, error)) {
    return Error(ErrorCode::Io, "checkpoint into " + folder + ": " + (error ? error.message() : "not an empty folder"));
  }
  rocksdb::Checkpoint* raw = nullptr;
  rocksdb::Status status = rocksdb::Checkpoint::Create(&db, &raw);
  const std::unique_ptr<rocksdb::Checkpoint> checkpoint(raw);
  if (status.ok()) status = checkpoint->CreateCheckpoint(folder);
  if (!status.ok()) return rocks_error("checkpoint of " + std::string(what), status);
  return {};
}

}  // namespace dunlin::embedded

// The part of RocksState that opens an instance: at the start, and anew when the one in use takes no writes any more.
#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/file_system.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/listener.h>
#include <rocksdb/table.h>

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <mutex>

#include "base/log.h"
#include "storage/embedded/file/file_system.h"
#include "storage/embedded/history/bytes.h"
#include "storage/embedded/state/rocks_state.h"

namespace dunlin::embedded {
namespace {

namespace fs = std::filesystem;

constexpr const char* kNoKey = "-";  // shorter than any
constexpr std::size_t kOldLogs = 8;  // of earlier lives that an instance is opened with as they are; each life makes one or two

rocksdb::Options state_options(const std::shared_ptr<rocksdb::Cache>& cache, std::size_t write_buffer_bytes,
                               std::shared_ptr<rocksdb::EventListener> listener) {
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = cache;
  table.cache_index_and_filter_blocks = true;
  table.format_version = 5;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  rocksdb::Options options;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  options.create_if_missing = true;
  options.compression = rocksdb::kNoCompression;
  options.write_buffer_size = write_buffer_bytes;
  options.max_write_buffer_number = 4;
  options.max_background_jobs = 2;
  options.max_open_files = 256;
  options.bytes_per_sync = 1 << 20;
  options.allow_fallocate = false;  // space is taken when it is used, so that little of it is enough to heal
  options.manifest_preallocation_size = 64 << 10;
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  options.info_log = rocks_log("state");
  options.listeners.push_back(std::move(listener));
  return options;
}

// Whether the folder takes a file of the size that opening an instance needs. Before that is known the old instance serves reads.
Status probe(const std::string& path) {
  constexpr std::size_t kBytes = 1 << 20;
  FileSystem& files = posix_file_system();
  Status written = [&]() -> Status {
    TRY_ASSIGN(const auto file, files.open(path, OpenMode::Create));
    return file->write(0, std::string(kBytes, '\0'));
  }();
  ignore(files.remove(path));
  return written;
}

// The logs of an earlier life are read into memory, not rewritten, and sync() covers only those of this one. Gives how many there are.
Result<std::size_t> sync_old_logs(const std::string& path) {
  std::size_t logs = 0;
  std::error_code error;
  for (fs::directory_iterator entry(path, error), end; !error && entry != end; entry.increment(error)) {
    if (entry->path().extension() != ".log") continue;
    ++logs;
    const int fd = ::open(entry->path().c_str(), O_RDONLY | O_CLOEXEC);
    const bool synced = fd >= 0 && ::fsync(fd) == 0;
    const int reason = errno;
    if (fd >= 0) ::close(fd);
    if (!synced) return errno_error("syncing " + entry->path().string(), reason);
  }
  if (error) return Error(ErrorCode::Io, "reading " + path + ": " + error.message());
  return logs;
}

}  // namespace

Error RocksState::damaged(const std::string& path, std::string_view what) {
  return Error(ErrorCode::Corrupt,
               path + " is damaged (" + std::string(what) + "); bring back a backup with `dunlin restore BACKUP --into DATA`");
}

// Keeps a failed compaction from stopping all writes: it leaves every row as it was.
class RocksState::Listener final : public rocksdb::EventListener {
 public:
  explicit Listener(std::atomic<bool>& stopped) : stopped_(stopped) {}
  void OnBackgroundError(rocksdb::BackgroundErrorReason reason, rocksdb::Status* status) override {
    log_error("state", "a background job of the state store failed", {{"error", status->ToString()}});
    if (reason == rocksdb::BackgroundErrorReason::kCompaction) {
      *status = rocksdb::Status::OK();
    } else {
      stopped_.store(true, std::memory_order_release);
    }
  }
  // The next write resumes; RocksDB's own recovery would wait for more free space than a write needs, and refuse ours meanwhile.
  void OnErrorRecoveryBegin(rocksdb::BackgroundErrorReason, rocksdb::Status, bool* recover) override { *recover = false; }

 private:
  std::atomic<bool>& stopped_;
};

RocksState::RocksState(StateOptions options)
    : options_(std::move(options)),
      cache_(rocksdb::NewLRUCache(options_.block_cache_bytes)),
      env_(rocksdb::NewCompositeEnv(options_.files ? options_.files : machine_files())) {}
RocksState::~RocksState() = default;

void RocksState::DbCloser::operator()(rocksdb::DB* db) const {
  db->Close().PermitUncheckedError();
  delete db;
}

Result<std::unique_ptr<RocksState>> RocksState::open(const StateOptions& options) {
  std::error_code error;
  TRY(posix_file_system().make_folder(options.path));
  if (!fs::exists(fs::path(options.path) / "CURRENT", error) && !error) {
    // RocksDB would take the folder for a new one and delete what it holds.
    for (fs::directory_iterator entry(options.path, error), end; !error && entry != end; entry.increment(error)) {
      const auto kind = entry->path().extension();
      if (kind == ".sst" || (kind == ".log" && entry->file_size(error) > 0)) return damaged(options.path, "CURRENT is missing");
    }
  }
  if (error) return Error(ErrorCode::Io, "reading " + options.path + ": " + error.message());
  std::unique_ptr<RocksState> state(new RocksState(options));
  TRY(state->open_instance());
  state->load_mark();
  return state;
}

Status RocksState::open_instance() {
  rocksdb::DB* db = nullptr;
  const std::string& path = options_.path;
  TRY_ASSIGN(const std::size_t logs, sync_old_logs(path));
  rocksdb::Options options = state_options(cache_, options_.write_buffer_bytes, std::make_shared<Listener>(stopped_));
  options.env = env_.get();
  // Logs that were read stay until their rows are in a table file, which each start would make them wait for. So now and then one does.
  options.avoid_flush_during_recovery = logs <= kOldLogs;
  rocksdb::Status opened = rocksdb::DB::Open(options, path, &db);
  if (!opened.ok() && is_io_failure(opened) && !options.avoid_flush_during_recovery) {
    options.avoid_flush_during_recovery = true;  // no space for the file, say
    opened = rocksdb::DB::Open(options, path, &db);
  }
  if (opened.ok()) {
    db_.reset(db);
    // Logs without a row are kept for good; with this one the next start can let them go.
    if (logs > kOldLogs) db_->Delete({}, kNoKey).PermitUncheckedError();
    return {};
  }
  if (opened.IsIOError() && opened.ToString().find("lock") != std::string::npos) {
    return Error(ErrorCode::Busy, "opening " + path + ": " + opened.ToString());
  }
  if (is_io_failure(opened)) return rocks_error("opening " + path, opened);
  return damaged(path, opened.ToString());
}

Status RocksState::reopen_if_stopped() {
  if (!stopped_.load(std::memory_order_acquire)) return {};
  const MutexLock turn(turn_);
  if (!stopped_.load(std::memory_order_acquire)) return {};
  TRY(probe(options_.path + "/probe"));
  const std::unique_lock lock(instance_);
  db_.reset();
  TRY(open_instance());
  stopped_.store(false, std::memory_order_release);
  log_info("state", "the state store takes writes again");
  return {};
}

}  // namespace dunlin::embedded

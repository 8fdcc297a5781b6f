#include <rocksdb/cache.h>
#include <rocksdb/db.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "base/log.h"
#include "storage/embedded/file/file_system.h"
#include "storage/embedded/history/bytes.h"
#include "storage/embedded/history/rocks_history.h"

namespace dunlin::embedded {
namespace {

namespace fs = std::filesystem;

const Clock& system_clock() {
  static const SystemClock clock;
  return clock;
}

Error metadata_damaged(const std::string& path, std::string_view what) {
  return Error(ErrorCode::Corrupt, "the metadata of " + path + " is damaged (" + std::string(what) +
                                       "); bring back a backup with `dunlin restore BACKUP --into DATA`");
}

Error not_readable(const std::string& path, const rocksdb::Status& status) {
  if (is_io_failure(status)) return rocks_error("opening " + path, status);
  return metadata_damaged(path, status.ToString());
}

// Without CURRENT RocksDB would make a new, empty instance and delete all files of the old one.
Result<bool> holds_an_instance(const std::string& path) {
  std::error_code error;
  if (fs::exists(fs::path(path) / "CURRENT", error)) return true;
  if (error) return Error(ErrorCode::Io, "reading " + path + ": " + error.message());
  for (fs::directory_iterator entry(path, error), end; !error && entry != end; entry.increment(error)) {
    if (entry->path().extension() == ".sst") return metadata_damaged(path, "CURRENT is missing");
  }
  if (error) return Error(ErrorCode::Io, "reading " + path + ": " + error.message());
  return false;
}

}  // namespace

Result<std::unique_ptr<History>> History::open(HistoryOptions options) {
  TRY_ASSIGN(auto history, RocksHistory::open(std::move(options), RocksHistory::Access::Write));
  return std::unique_ptr<History>(std::move(history));
}

RocksHistory::RocksHistory(HistoryOptions options) : options_(std::move(options)), manifest_(options_.files) {
  if (!options_.clock) options_.clock = &system_clock();
  opened_monotonic_ = options_.clock->monotonic();
  opened_wall_ = options_.clock->wall();
  cache_ = rocksdb::NewLRUCache(options_.block_cache_bytes, 4, false, 0.3);
}

RocksHistory::~RocksHistory() {
  eraser_.reset();
  spare_.clear();
  MutexLock lock(catalog_mutex_);
  catalog_.reset();
}

void RocksHistory::DbCloser::operator()(rocksdb::DB* db) const {
  db->Close().PermitUncheckedError();
  delete db;
}

Result<std::unique_ptr<RocksHistory>> RocksHistory::open(HistoryOptions options, Access access) {
  std::unique_ptr<RocksHistory> history(new RocksHistory(std::move(options)));
  if (access == Access::Write) TRY(history->clear_incoming());
  TRY(history->open_db(access));
  return history;
}

// Files of an ingest that a crash cut off: never part of the instance, since an ingest links them and only then is durable.
Status RocksHistory::clear_incoming() {
  std::error_code error;
  const fs::path incoming = fs::path(options_.path) / "incoming";
  TRY(posix_file_system().make_folder(options_.path));
  TRY(posix_file_system().make_folder(incoming.string()));
  for (fs::directory_iterator entry(incoming, error), end; !error && entry != end; entry.increment(error)) {
    fs::remove(entry->path(), error);
    if (error) break;
  }
  if (error) return Error(ErrorCode::Io, "preparing " + incoming.string() + ": " + error.message());
  return {};
}

Status RocksHistory::open_db(Access access) {
  TRY_ASSIGN(const bool exists, holds_an_instance(options_.path));
  rocksdb::DBOptions db_options = history_db_options(damage_.listener());
  db_options.env = manifest_.env();
  std::vector<std::string> names;
  if (exists) {
    const rocksdb::Status listed = rocksdb::DB::ListColumnFamilies(db_options, options_.path, &names);
    if (!listed.ok()) return not_readable(options_.path, listed);
  }
  for (const char* needed : {"default", "heads", "list"}) {
    if (std::find(names.begin(), names.end(), needed) != names.end()) continue;
    if (exists && access == Access::ReadOnly) return metadata_damaged(options_.path, std::string(needed) + " is missing");
    names.emplace_back(needed);
  }
  std::vector<rocksdb::ColumnFamilyDescriptor> descriptors;
  for (const auto& name : names) descriptors.emplace_back(name, history_column_options(family_of(name), cache_));
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  lower_compaction_priority();
  rocksdb::DB* db = nullptr;
  const rocksdb::Status opened = access == Access::Write
                                     ? rocksdb::DB::Open(db_options, options_.path, descriptors, &handles, &db)
                                     : rocksdb::DB::OpenForReadOnly(db_options, options_.path, descriptors, &handles, &db);
  if (!opened.ok()) {
    const bool locked = opened.IsIOError() && opened.ToString().find("lock") != std::string::npos;
    if (locked) return Error(ErrorCode::Busy, "opening " + options_.path + ": " + opened.ToString());
    return not_readable(options_.path, opened);
  }
  db_.reset(db);
  std::vector<ColumnPtr> columns;
  for (std::size_t i = 0; i < handles.size(); ++i)
    columns.push_back(std::make_shared<Column>(db, handles[i], names[i], family_of(names[i])));
  return load_catalog(std::move(columns));
}

Status RocksHistory::load_catalog(std::vector<ColumnPtr> columns) {
  std::map<std::string, ColumnPtr> by_name;
  for (auto& column : columns) by_name.emplace(column->name(), column);
  columns.clear();
  const auto take = [&](const std::string& name) {
    const auto found = by_name.find(name);
    if (found == by_name.end()) return ColumnPtr();
    ColumnPtr column = found->second;
    by_name.erase(found);
    return column;
  };
  Catalog catalog;
  catalog.meta = take("default");
  catalog.heads = take("heads");
  catalog.list = take("list");
  std::unique_ptr<rocksdb::Iterator> rows(db_->NewIterator({}, catalog.meta->handle()));
  for (rows->SeekToFirst(); rows->Valid(); rows->Next()) {
    const std::string_view key(rows->key().data(), rows->key().size());
    const std::string_view value(rows->value().data(), rows->value().size());
    const Error damaged = metadata_damaged(options_.path, "a row of the default family");
    if (key == position_key()) {
      const auto row = decode_position(value);
      if (!row) return damaged;
      catalog.newest = *row;
    } else if (key == watermark_key()) {
      const auto row = decode_watermark(value);
      if (!row) return damaged;
      catalog.watermark = *row;
    } else {
      const auto span = decode_span(key, value);
      if (!span || key.size() < 8) return damaged;
      const std::uint32_t number = get_be32(key.data() + key.size() - 4);
      if (key == volume_key(number)) catalog.volumes.push_back({number, *span, take(timeline_name(number)), take(activity_name(number))});
      if (key == generation_key(number)) catalog.generations.push_back({number, *span, take(dedup_name(number))});
    }
  }
  if (!rows->status().ok()) return not_readable(options_.path, rows->status());
  // A drop that a crash cut: the watermark was durable first, so these are trimmed.
  for (auto& volume : catalog.volumes) {
    if (volume.span.last > catalog.watermark) {
      if (!volume.timeline || !volume.activity)
        return metadata_damaged(options_.path, "a family of volume " + std::to_string(volume.number) + " is missing");
      continue;
    }
    if (volume.timeline) spare_.push_back(std::move(volume.timeline));
    if (volume.activity) spare_.push_back(std::move(volume.activity));
  }
  std::erase_if(catalog.volumes, [&](const Volume& v) { return v.span.last <= catalog.watermark; });
  std::erase_if(catalog.generations, [](const Generation& g) { return !g.dedup; });
  for (auto& [name, column] : by_name) spare_.push_back(column);
  publish(std::move(catalog));
  return {};
}

CatalogPtr RocksHistory::catalog() const {
  MutexLock lock(catalog_mutex_);
  return catalog_;
}

void RocksHistory::publish(Catalog next) {
  next.view = std::shared_ptr<const rocksdb::Snapshot>(db_->GetSnapshot(),
                                                       [db = db_.get()](const rocksdb::Snapshot* view) { db->ReleaseSnapshot(view); });
  auto shared = std::make_shared<const Catalog>(std::move(next));
  trimmed_.store(shared->watermark.value(), std::memory_order_release);
  MutexLock lock(catalog_mutex_);
  catalog_.swap(shared);
}

Status RocksHistory::checkpoint(const std::string& folder) {
  return make_checkpoint(*db_, folder, "history");
}

History::Stats RocksHistory::stats() const {
  const CatalogPtr all = catalog();
  Stats stats;
  for (const auto& column : {all->meta, all->heads, all->list}) stats.bytes += column->file_bytes();
  for (const auto& volume : all->volumes) stats.bytes += volume.timeline->file_bytes() + volume.activity->file_bytes();
  for (const auto& generation : all->generations) stats.bytes += generation.dedup->file_bytes();
  stats.volumes = all->volumes.size();
  stats.corrupt_files = damage_.files();
  stats.clock_trusted = !clock_alarm_.load(std::memory_order_relaxed);
  stats.rows_read = rows_read_.load(std::memory_order_relaxed);
  return stats;
}

}  // namespace dunlin::embedded

#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

// RocksDB's types by name only: its headers stay in the .cc files of this layer.
namespace rocksdb {
class Cache;
class ColumnFamilyHandle;
class DB;
class Env;
class EventListener;
class FileSystem;
class Iterator;
class Logger;
class Slice;
class Snapshot;
class Status;
struct ColumnFamilyOptions;
struct DBOptions;
}  // namespace rocksdb

namespace dunlin::embedded {

// What a family's rows are looked up by; it decides about filters and block sizes.
enum class Family : std::uint8_t { Meta, Heads, List, Timeline, Activity, Dedup };

// RocksDB's own error messages as lines of our log. Not in a file beside the data: on a full disk the builds that check
// their assertions (Debian's) abort the process when a line of that file cannot be written.
std::shared_ptr<rocksdb::Logger> rocks_log(const char* area);

rocksdb::DBOptions history_db_options(std::shared_ptr<rocksdb::EventListener> listener);
// Compaction runs when nothing else wants the CPU (SCHED_IDLE): for the process's one pool of RocksDB compaction threads.
void lower_compaction_priority();
rocksdb::ColumnFamilyOptions history_column_options(Family family, const std::shared_ptr<rocksdb::Cache>& cache);

// The machine's files as RocksDB uses them here: what it makes is for its owner alone, whatever the umask; and where the volume has no hard
// links, what would be linked (files of an ingest, files of a backup) is copied.
std::shared_ptr<rocksdb::FileSystem> machine_files();

// NoSpace, Corrupt (damaged or missing files) or Io.
Error rocks_error(std::string_view what, const rocksdb::Status& status);
bool is_damage(const rocksdb::Status& status);
// A call of the system failed, which says nothing about what the files hold.
bool is_io_failure(const rocksdb::Status& status);

// A consistent copy (hard links) into `folder`, which must be missing or empty. `what` names the instance in errors.
Status make_checkpoint(rocksdb::DB& db, const std::string& folder, std::string_view what);

}  // namespace dunlin::embedded

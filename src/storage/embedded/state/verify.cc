#include <rocksdb/db.h>

#include <filesystem>
#include <memory>

#include "storage/embedded/history/rocks.h"
#include "storage/embedded/history/rows.h"
#include "storage/embedded/state/embedded_state_store.h"
#include "storage/embedded/state/state_rows.h"

namespace dunlin::embedded {
namespace {

bool is_sound(std::string_view key, std::string_view value) {
  switch (key.size() > kTenantBytes ? key[kTenantBytes] : '\0') {
    case 'd': return decode_cursor(value).has_value();
    case 'r': return decode_read(value).has_value();
    case 'e': return decode_recall(key, value).has_value();
    case 'm': return decode_mark(value).has_value();
    case 'x': return true;  // all of it is in the key
    default: return false;
  }
}

}  // namespace

Result<std::uint64_t> verify_state(const std::string& path) {
  std::error_code failed;
  if (!std::filesystem::exists(path + "/CURRENT", failed) && !failed) return Error(ErrorCode::Corrupt, path + ": CURRENT is missing");
  rocksdb::Options options;
  options.info_log = rocks_log("state");
  // A server takes what stands before damage in the write-ahead log. Only a torn tail is none: that is what a crash leaves.
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kTolerateCorruptedTailRecords;
  rocksdb::DB* opened = nullptr;
  const rocksdb::Status status = rocksdb::DB::OpenForReadOnly(options, path, &opened);
  if (!status.ok() && is_io_failure(status)) return rocks_error("opening " + path, status);
  if (!status.ok()) return Error(ErrorCode::Corrupt, path + ": " + status.ToString());
  const std::unique_ptr<rocksdb::DB> db(opened);
  std::uint64_t count = 0;
  rocksdb::ReadOptions reading;
  reading.fill_cache = false;
  const std::unique_ptr<rocksdb::Iterator> rows(db->NewIterator(reading));
  for (rows->SeekToFirst(); rows->Valid(); rows->Next()) {
    if (!is_sound(rows->key().ToStringView(), rows->value().ToStringView()))
      return Error(ErrorCode::Corrupt, path + ": a row is no row of state");
    if (rows->key().ToStringView() != mark_key()) ++count;  // it is of no user
  }
  if (!rows->status().ok()) return rocks_error("reading " + path, rows->status());
  return count;
}

}  // namespace dunlin::embedded

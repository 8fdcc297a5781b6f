#include "storage/embedded/history/reading.h"

#include <rocksdb/db.h>

#include <algorithm>

#include "storage/embedded/history/newest_position.h"

namespace dunlin::embedded {

Reading::Reading(CatalogPtr catalog, std::atomic<std::uint64_t>& rows_read) : catalog_(std::move(catalog)), rows_read_(rows_read) {}
Reading::~Reading() = default;

std::unique_ptr<rocksdb::Iterator> Reading::take(Column& column, LogPosition newer_than) {
  const auto at = std::ranges::find_if(idle_, [&](const Idle& idle) { return idle.column == &column && idle.newer_than == newer_than; });
  if (at != idle_.end()) {
    std::unique_ptr<rocksdb::Iterator> rows = std::move(at->rows);
    idle_.erase(at);
    return rows;
  }
  // No bounds: they would belong to one conversation. The prefix keeps the walk within it as well.
  rocksdb::ReadOptions options;
  options.snapshot = catalog_->view.get();
  options.prefix_same_as_start = true;
  if (newer_than > LogPosition(0)) options.table_filter = files_newer_than(newer_than);
  return std::unique_ptr<rocksdb::Iterator>(column.db().NewIterator(options, column.handle()));
}

void Reading::give_back(Column& column, LogPosition newer_than, std::unique_ptr<rocksdb::Iterator> rows) {
  if (rows->status().ok()) idle_.push_back({&column, newer_than, std::move(rows)});
}

}  // namespace dunlin::embedded

#include "storage/embedded/history/reading.h"

#include <rocksdb/db.h>

#include <algorithm>

namespace dunlin::embedded {

Reading::Reading(CatalogPtr catalog, std::atomic<std::uint64_t>& rows_read) : catalog_(std::move(catalog)), rows_read_(rows_read) {}
Reading::~Reading() = default;

std::unique_ptr<rocksdb::Iterator> Reading::take(Column& column) {
  const auto at = std::ranges::find(idle_, &column, [](const auto& each) { return each.first; });
  if (at != idle_.end()) {
    std::unique_ptr<rocksdb::Iterator> rows = std::move(at->second);
    idle_.erase(at);
    return rows;
  }
  // No bounds: they would belong to one conversation. The prefix keeps the walk within it as well.
  rocksdb::ReadOptions options;
  options.snapshot = catalog_->view.get();
  options.prefix_same_as_start = true;
  return std::unique_ptr<rocksdb::Iterator>(column.db().NewIterator(options, column.handle()));
}

void Reading::give_back(Column& column, std::unique_ptr<rocksdb::Iterator> rows) {
  if (rows->status().ok()) idle_.emplace_back(&column, std::move(rows));
}

}  // namespace dunlin::embedded

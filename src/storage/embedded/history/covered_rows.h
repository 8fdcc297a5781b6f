#pragma once

#include <memory>

#include "storage/embedded/history/rocks.h"

namespace rocksdb {
class TablePropertiesCollectorFactory;
struct TableProperties;
}  // namespace rocksdb

namespace dunlin::embedded {

// A compaction keeps an old row beside the new one while some snapshot sees it, and no read finds such a row when the snapshot is gone. So
// a timeline's file in which another row stands below that of a recalled message says so in a table property (`dunlin.covered`).
std::shared_ptr<rocksdb::TablePropertiesCollectorFactory> covered_rows_collector();
bool has_covered_rows(const rocksdb::TableProperties& properties);

}  // namespace dunlin::embedded

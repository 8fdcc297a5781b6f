#pragma once

#include <functional>
#include <memory>

#include "storage/embedded/history/rocks.h"
#include "storage/embedded/history/rows.h"

namespace rocksdb {
class TablePropertiesCollectorFactory;
struct TableProperties;
}  // namespace rocksdb

namespace dunlin::embedded {

// Every file of a timeline or activity family bears the newest log position of its rows as a table property, so that a read which knows
// that all it wants is newer than some position passes over the older files without asking their filters. A file without the property (or
// with a row that could not be read when it was written) is never passed over.
std::shared_ptr<rocksdb::TablePropertiesCollectorFactory> newest_position_collector(Family family);
// For ReadOptions::table_filter: whether the file may hold rows above `position`.
std::function<bool(const rocksdb::TableProperties&)> files_newer_than(LogPosition position);

}  // namespace dunlin::embedded

#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "storage/embedded/history/rocks.h"
#include "storage/embedded/history/rows.h"

namespace dunlin::embedded {

// One open column family. Shared by the catalog and the reads that use it: a dropped family stays readable until the last of them
// is gone.
class Column {
 public:
  Column(rocksdb::DB* db, rocksdb::ColumnFamilyHandle* handle, std::string name, Family family)
      : db_(db), handle_(handle), name_(std::move(name)), family_(family) {}
  ~Column();
  Column(const Column&) = delete;
  Column& operator=(const Column&) = delete;

  rocksdb::DB& db() const { return *db_; }
  rocksdb::ColumnFamilyHandle* handle() const { return handle_; }
  const std::string& name() const { return name_; }
  Family family() const { return family_; }
  std::uint64_t file_bytes() const;

  // Some file of it is damaged. Sticky until the process ends.
  bool damaged() const { return damaged_.load(std::memory_order_acquire); }
  // Keeps all its files out of compaction from here on; true for the first caller.
  bool contain();

 private:
  rocksdb::DB* const db_;
  rocksdb::ColumnFamilyHandle* const handle_;
  const std::string name_;
  const Family family_;
  std::atomic<bool> damaged_{false};
};
using ColumnPtr = std::shared_ptr<Column>;

// The timeline and activity of a span of log positions. Retention drops whole volumes.
struct Volume {
  std::uint32_t number = 0;
  SpanRow span;
  ColumnPtr timeline;
  ColumnPtr activity;
};

// The dedup entries of a span of log positions. Generations turn by a clock of their own, since an entry lives 24 h whatever
// retention does to its message.
struct Generation {
  std::uint32_t number = 0;
  SpanRow span;
  ColumnPtr dedup;
};

// What history consists of at one moment: immutable, replaced as a whole by the indexer, held by each read while it lasts.
//
// Reads go through `view`, so that they see the rows of exactly this catalog: an ingest that RocksDB has taken and that is not
// published yet stays hidden, in heads as in timelines. That some view is always held has a second use: RocksDB gives ingested files
// a sequence number above all rows at once. Otherwise it would first read the family's files to see whether they overlap, on each
// ingest, and one damaged block would refuse the ingest.
struct Catalog {
  std::shared_ptr<const rocksdb::Snapshot> view;
  PositionRow newest;
  LogPosition watermark;
  std::vector<Volume> volumes;          // oldest first; none is wholly at or below the watermark
  std::vector<Generation> generations;  // oldest first
  ColumnPtr meta;
  ColumnPtr heads;
  ColumnPtr list;
};
using CatalogPtr = std::shared_ptr<const Catalog>;

std::string timeline_name(std::uint32_t volume);
std::string activity_name(std::uint32_t volume);
std::string dedup_name(std::uint32_t generation);
Family family_of(const std::string& column_name);

}  // namespace dunlin::embedded

#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "storage/embedded/history/catalog.h"

namespace dunlin::embedded {

// One look at history: the catalog it sees, and the iterators that it has opened, which serve one conversation after the other. Opening
// one costs as much as a seek or two (every file of the family is asked for its index), so a job that reads several ranges shares them.
// One thread; an iterator holds files that compaction has replaced, so a Reading lasts for one job.
class Reading {
 public:
  Reading(CatalogPtr catalog, std::atomic<std::uint64_t>& rows_read);
  ~Reading();
  Reading(const Reading&) = delete;
  Reading& operator=(const Reading&) = delete;

  const Catalog& catalog() const { return *catalog_; }
  std::atomic<std::uint64_t>& rows_read() { return rows_read_; }

  // An iterator over the rows of one key prefix at a time (where the seek goes), and back when it is done. Of rows at or below `newer_than`
  // it finds only some.
  std::unique_ptr<rocksdb::Iterator> take(Column& column, LogPosition newer_than);
  void give_back(Column& column, LogPosition newer_than, std::unique_ptr<rocksdb::Iterator> rows);

 private:
  const CatalogPtr catalog_;
  std::atomic<std::uint64_t>& rows_read_;
  struct Idle {
    Column* column = nullptr;
    LogPosition newer_than;
    std::unique_ptr<rocksdb::Iterator> rows;
  };
  std::vector<Idle> idle_;
};

}  // namespace dunlin::embedded

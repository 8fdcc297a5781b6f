#pragma once

#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "storage/embedded/history/catalog.h"

namespace rocksdb {
class Iterator;
class SstFileReader;
}  // namespace rocksdb

namespace dunlin::embedded {

// The files of timelines that may hold keys of a span, each open by itself: within a family the newest first, so that of two rows under one
// key the one in force is met first. For what RocksDB's merged reads cannot tell. One thread; files that compaction drops meanwhile are
// kept until this goes away.
class TimelineFiles {
 public:
  struct File {
    File();
    ~File();
    std::unique_ptr<rocksdb::SstFileReader> reader;
    std::unique_ptr<rocksdb::Iterator> rows;  // null: nothing of the file can be read
    std::string smallest;
    std::string largest;
  };

  // The families in the order given.
  TimelineFiles(std::span<const ColumnPtr> timelines, std::string_view first_key, std::string_view last_key);
  ~TimelineFiles();
  TimelineFiles(const TimelineFiles&) = delete;
  TimelineFiles& operator=(const TimelineFiles&) = delete;

  std::span<const std::unique_ptr<File>> files() const { return files_; }

 private:
  rocksdb::DB* db_ = nullptr;
  std::vector<std::unique_ptr<File>> files_;
};

}  // namespace dunlin::embedded

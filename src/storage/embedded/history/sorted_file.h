#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "storage/embedded/history/catalog.h"

namespace dunlin::embedded {

// One sorted file in the making, for one family: keys must come in order. No file is made when no row comes. After a failure
// put() and remove() give false, and finish() tells why.
class SortedFile {
 public:
  SortedFile(ColumnPtr column, std::string path, const std::shared_ptr<rocksdb::Cache>& cache);
  ~SortedFile();
  SortedFile(const SortedFile&) = delete;
  SortedFile& operator=(const SortedFile&) = delete;

  bool put(std::string_view key, std::string_view value);
  bool remove(std::string_view key);
  Status finish();  // synced when it succeeds

  bool written() const;
  const std::string& path() const { return path_; }
  const Column& column() const { return *column_; }

 private:
  struct Writer;
  bool begin();

  const ColumnPtr column_;
  const std::string path_;
  const std::unique_ptr<Writer> writer_;
};

// The files of one ingest. What of them is still there at the end (after a failure) is removed.
class SortedFiles {
 public:
  SortedFiles(std::string folder, std::shared_ptr<rocksdb::Cache> cache) : folder_(std::move(folder)), cache_(std::move(cache)) {}
  ~SortedFiles();
  SortedFiles(const SortedFiles&) = delete;
  SortedFiles& operator=(const SortedFiles&) = delete;

  SortedFile& begin(const ColumnPtr& column);
  Status finish();
  const std::vector<std::unique_ptr<SortedFile>>& files() const { return files_; }

 private:
  const std::string folder_;
  const std::shared_ptr<rocksdb::Cache> cache_;
  std::vector<std::unique_ptr<SortedFile>> files_;
};

}  // namespace dunlin::embedded

#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "storage/embedded/history/catalog.h"

namespace dunlin::embedded {

// Reads single timeline rows out of families with damaged files, file by file, so that a damaged block costs the rows in it and
// nothing else: RocksDB's own merged reads give up at the first block that does not match its checksum, even when the row asked for
// stands in another file. Slow (a look into every file for each row); used for the stretch in which the usual way failed. One
// read of one thread; files that compaction drops meanwhile are kept until this goes away.
class Salvage {
 public:
  // Newest volume first is the cheaper order.
  explicit Salvage(std::span<const ColumnPtr> timelines, std::uint64_t number);
  ~Salvage();
  Salvage(const Salvage&) = delete;
  Salvage& operator=(const Salvage&) = delete;

  // The value under (number, seq), wherever it can still be read; checked by nobody.
  std::optional<std::string> row(MessageSeq seq);

 private:
  struct File;
  rocksdb::DB* db_ = nullptr;
  const std::uint64_t number_;
  std::vector<std::unique_ptr<File>> files_;
};

}  // namespace dunlin::embedded

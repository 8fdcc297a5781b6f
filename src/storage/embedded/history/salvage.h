#pragma once

#include <optional>
#include <span>
#include <string>

#include "storage/embedded/history/timeline_files.h"

namespace dunlin::embedded {

// Reads single timeline rows out of families with damaged files, file by file, so that a damaged block costs the rows in it and
// nothing else: RocksDB's own merged reads give up at the first block that does not match its checksum, even when the row asked for
// stands in another file. Slow (a look into every file for each row); used for the stretch in which the usual way failed. One
// read of one thread.
// Of a recalled message the newest row counts. When just that one is damaged and its content is still in an older file, the content comes
// back: records of damaged families are told by History::not_erased(), and the caller keeps them hidden.
class Salvage {
 public:
  // Newest volume first is the cheaper order.
  Salvage(std::span<const ColumnPtr> timelines, std::uint64_t number);

  // The value under (number, seq), wherever it can still be read; checked by nobody.
  std::optional<std::string> row(MessageSeq seq);

 private:
  const std::uint64_t number_;
  const TimelineFiles files_;
};

}  // namespace dunlin::embedded

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "storage/embedded/file/file_system.h"
#include "storage/embedded/log/batch_codec.h"

namespace dunlin::embedded {

// The valid batches of one segment file's bytes. A file that was recycled may still hold batches of an earlier generation behind the new
// ones: only the newest generation counts. Pure; never fails, whatever the bytes are.
struct SegmentIndex {
  std::uint64_t generation = 0;  // 0: no batch at all
  std::vector<BatchHead> batches;
};
SegmentIndex index_segment(std::string_view file, std::uint32_t secret);

// The whole file, or an error.
Result<std::string> read_segment_file(FileSystem& files, const std::string& path);

// A file of the log folder.
struct SegmentFile {
  std::string name;
  std::uint64_t bytes = 0;
  std::uint64_t generation = 0;  // 0: nothing of the log stands in it
  LogPosition first;             // of what can be read of this generation
  LogPosition last;
  std::optional<Error> unread;  // why a part of it could not be read; never its beginning
  bool in_log = false;          // holds records that history does not have; else the file is free
  bool set_aside = false;       // its content could not be judged: to be copied aside before the file is used again
  bool void_news = false;       // holds what must never be taken for news: to be written anew before the file is used again
};

// One segment of the log: the file and the part of it that counts.
struct Link {
  std::size_t file = 0;
  std::uint64_t generation = 0;
  std::vector<BatchHead> batches;    // in order; empty when the heads of all are damaged
  std::optional<std::uint32_t> end;  // where the next segment says that it ends
  LogPosition until{UINT64_MAX};     // where nothing says so: the position at which the next segment begins
};

// Which segments make up the log, oldest first, found without changing anything.
//
//  - The newest generation leads back through its batches' `previous`, exactly: what lies between two links, or behind a link's end, is
//    void.
//  - A segment without a single good batch head is recognised by the heads of its records, whose checksums begin with its generation: one
//    that another batch names, one that the damaged head claims, or one of the next few.
//  - Where the way back is lost, or leads to a segment that is not there, it goes on with the newest older segment that holds positions
//    between history's and those found so far. Of that one only these positions count.
//  - A failed read is no damage: what was acked may stand there, and be readable the next time. Where a file's beginning cannot be read,
//    which says what segment it is, that is an error; elsewhere it is noted, since free files may have bad sectors.
struct LogChain {
  std::vector<SegmentFile> files;
  std::vector<Link> links;
  std::uint64_t last_generation = 0;  // none up to it may be used again
  bool doubtful = false;              // some of the way back had to be found by positions, or a segment by its records
};
Result<LogChain> find_chain(FileSystem& files, const std::string& folder, std::uint32_t secret, LogPosition history);

}  // namespace dunlin::embedded

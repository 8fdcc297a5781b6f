#pragma once

#include <cstdint>
#include <functional>
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
  std::uint64_t generation = 0;  // 0: no batch at all, the file is free
  std::vector<BatchHead> batches;
};
SegmentIndex index_segment(std::string_view file, std::uint32_t secret);

// A file of the log folder after the scan.
struct SegmentFile {
  std::string name;
  std::uint64_t bytes = 0;
  std::uint64_t generation = 0;
  LogPosition last;     // highest position that its valid batches hold, for files of the log
  bool in_log = false;  // holds records that history does not have; else the file is free
};

// Gets the log in order of position.
class LogScanSink {
 public:
  virtual ~LogScanSink() = default;
  virtual void on_segment(const std::string& file) = 0;  // what follows stands in it
  virtual void on_record(MessagePtr message) = 0;
  // A record that cannot be read but whose place is known. `conversation` is empty when its name is lost too.
  virtual void on_lost(LogPosition position, std::uint64_t conversation_number, MessageSeq seq, std::string_view conversation) = 0;
};

struct TornTail {
  std::string file;
  std::uint32_t offset = 0;
  std::string bytes;
};

struct LogScan {
  std::vector<SegmentFile> files;
  std::uint64_t last_generation = 0;  // highest ever seen, void segments included
  LogPlace synced;                    // M: everything before was durable when the log was written
  LogPlace end;                       // where the valid log ends: the next segment names it as its `previous`
  LogPosition last;                   // last position of the valid log or of history
  std::uint64_t records = 0;
  std::uint64_t lost = 0;     // told to on_lost
  std::uint64_t unknown = 0;  // positions of which not even the conversation's number is known: seqs may be given twice
  std::optional<TornTail> tail;
  bool clean_end = false;
};

// Reads the log in `folder` (recovery and verify; changes nothing). Records at or below `history` are skipped.
//
// How damage is judged. Each batch says up to where the log was durable when it was written, and which segment, valid up to where, came
// before its own; so the newest segment leads back through the valid log, and segments that were given up are never visited.
//  1. M = the latest place that any batch of this chain calls durable.
//  2. A place below M where no good batch or record stands is corruption: reported (from the batch's table, else from the record's own
//     head, found by its checksum), and the scan goes on behind it.
//  3. Above M, the first such place is where the log ends: a torn tail. Good batches behind it are cut too, since their order is lost.
Result<LogScan> scan_log(FileSystem& files, const std::string& folder, std::uint32_t secret, LogPosition history, LogScanSink& sink);

}  // namespace dunlin::embedded

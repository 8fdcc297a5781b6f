#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "storage/embedded/file/file_system.h"
#include "storage/embedded/log/batch_codec.h"
#include "storage/embedded/log/log_chain.h"

namespace dunlin::embedded {

// Gets the log in order of position.
class LogScanSink {
 public:
  virtual ~LogScanSink() = default;
  // The order of the segments had to be guessed: what comes may be older than what history holds.
  virtual void on_doubt() {}
  // A record at history's position that stands in front of news. False: history has another one there, so the segment is of a past that
  // was taken back, and its news is void.
  virtual bool agrees(const Message& message) {
    static_cast<void>(message);
    return true;
  }
  virtual void on_segment(const std::string& file) = 0;  // what follows stands in it
  virtual void on_record(MessagePtr message) = 0;
  // Cursors of devices (state/cursor_riders.h), behind the records that they may cover. `bytes` is valid during the call.
  virtual void on_cursors(std::string_view bytes) { static_cast<void>(bytes); }
  // A record that cannot be read but whose place is known. `conversation` is empty when its name is lost too.
  virtual void on_lost(LogPosition position, std::uint64_t conversation_number, MessageSeq seq, std::string_view conversation) = 0;
};

struct TornTail {
  std::string file;
  std::uint32_t offset = 0;
  std::string bytes;
};

// A segment of the log that history holds in whole. Without records: first > last.
struct PastSegment {
  std::size_t file = 0;
  LogPosition first;
  LogPosition last;
};

struct LogScan {
  std::vector<SegmentFile> files;
  std::vector<PastSegment> past;      // oldest first
  std::uint64_t last_generation = 0;  // highest ever seen, void segments included
  LogPlace synced;                    // M: everything before was durable when the log was written
  LogPlace end;                       // where the valid log ends: the next segment names it as its `previous`
  LogPosition last;                   // last position of the valid log or of history
  std::uint64_t records = 0;
  std::uint64_t lost = 0;     // told to on_lost
  std::uint64_t damaged = 0;  // places below the mark where no good batch stands; their records are told, lost or unknown
  std::uint64_t stale = 0;    // segments that contradict history
  std::uint64_t unknown = 0;  // positions of which not even the conversation's number is known: seqs may be given twice
  std::optional<TornTail> tail;
  // More than the last write may be missing: good batches stand behind the end, or the end is in a segment's first batch, which may have
  // been to replace what an older one holds.
  bool broken_off = false;
  bool clean_end = false;
};

// Reads the log in `folder` (recovery and verify; changes nothing). Records at or below `history` are skipped.
//
// How damage is judged. Each batch says up to where the log was durable when it was written; log_chain.h finds the segments.
//  1. M = the latest place that any batch of the chain calls durable.
//  2. A place below M where no good batch or record stands is corruption: reported (from the batch's table, else from the record's own
//     head, found by its checksum), and the scan goes on behind it.
//  3. Above M the first such place is where the log ends: a torn tail. Of a batch without a good head there, the records that are whole
//     and follow without a hole are kept; good batches behind the end are cut too, since their order is lost.
//  4. What cannot be read is not judged: an error, unless history has it (log_chain.h).
Result<LogScan> scan_log(FileSystem& files, const std::string& folder, std::uint32_t secret, LogPosition history, LogScanSink& sink);

}  // namespace dunlin::embedded

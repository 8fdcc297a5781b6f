#pragma once

#include <functional>
#include <map>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "storage/embedded/log/kept_log.h"
#include "storage/embedded/log/segment_pool.h"
#include "storage/embedded/recalls.h"

namespace dunlin::embedded {

struct LogWipeOptions {
  const Clock* clock = nullptr;
  Milliseconds every{20'000};  // between the beginnings of two rounds
  std::uint32_t secret = 0;
  // Runs the job on the committer's thread between two batches, or soon gives up.
  std::function<Status(const std::function<void()>&)> between_batches;
  std::function<Status()> seal;  // ends the active segment; for such a job
};

// Takes the content of recalled messages out of the log's files, in rounds, as long as some wait for it.
//
// A round begins by writing the spares anew, one at a time. Then, in one step between two batches, the active segment is ended and every
// file but the spares is noted: whatever copy of a record there is (of a failed attempt, of an earlier life of a file) stands in one of
// those, and what is written from then on goes into blank files. The round is over when each noted file was treated: written anew or
// removed once it is free (SegmentPool sees to that), or wiped in place while it is kept for followers: recalled records there become
// erased ones (batch_codec.h), and what no batch of the segment covers becomes zeros. A segment that history lacks is not touched.
//
// Nothing of it is remembered: after a restart a round begins anew. Changing files in place takes no space, so a full disk holds nothing
// back. What fails is tried again at the next call.
// Thread: the indexer's.
class LogWipe {
 public:
  LogWipe(LogWipeOptions options, FileSystem& files, SegmentPool& pool, KeptLog& kept, Recalls& recalls)
      : options_(std::move(options)), fs_(files), pool_(pool), kept_(kept), recalls_(recalls) {}

  // Does the next piece of work, at most one file's; true: there is more that can be done at once. `held`: a backup reads the files.
  bool step(bool held);

 private:
  struct Wiped {
    LogPosition end;  // of the segment, which tells it from later lives of the file
    LogPosition first;
    LogPosition last;  // of the records that stand in it
  };

  bool begin();
  bool wiped_before(const std::string& name, LogPosition end) const;
  Status wipe(const std::string& name, LogPosition end);
  void report(const Status& done, std::string_view what);

  const LogWipeOptions options_;
  FileSystem& fs_;
  SegmentPool& pool_;
  KeptLog& kept_;
  Recalls& recalls_;
  std::map<std::string, Wiped> wiped_;
  MonotonicTime next_{};
  bool open_ = false;  // a round is under way
  bool alarm_ = false;
};

}  // namespace dunlin::embedded

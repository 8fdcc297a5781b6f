#pragma once

#include <functional>
#include <vector>

#include "storage/embedded/log/log_wipe.h"
#include "storage/embedded/log/window.h"

namespace dunlin::embedded {

struct RecallRoundsOptions {
  LogWipeOptions log;
  Milliseconds rewrite_every{6 * 3600 * 1000};  // of history, which is a compaction of what the messages stand in
};

// What brings recalled content out of the files, piece by piece, beside the indexer's other work: the log's rounds, the erasing in history,
// and the end of each recall. Thread: the indexer's.
class RecallRounds {
 public:
  RecallRounds(RecallRoundsOptions options, FileSystem& files, SegmentPool& pool, KeptLog& kept, Window& window, History& history,
               Recalls& recalls)
      : options_(std::move(options)),
        wipe_(options_.log, files, pool, kept, recalls),
        window_(window),
        history_(history),
        recalls_(recalls) {}

  // The records that history is to get in place of these, if some are recalled (`out`), and which those are. They are told when it has
  // them.
  std::vector<RecalledRecord> strip(std::span<const MessagePtr> records, std::vector<MessagePtr>& out) const {
    return recalls_.strip(records, out);
  }
  void handed_over(std::span<const RecalledRecord> records) { recalls_.out_of_history(records); }

  // At least one piece, when there is something to do; more until `enough`. `held`: a backup reads the log's files.
  void work(bool held, const std::function<bool()>& enough);

 private:
  void tend_history();
  void erase_failed(const Status& done);

  const RecallRoundsOptions options_;
  LogWipe wipe_;
  Window& window_;
  History& history_;
  Recalls& recalls_;
  std::vector<RecalledRecord> erasing_;
  MonotonicTime next_look_{};
  MonotonicTime next_erase_{};
  bool erase_alarm_ = false;
  bool row_alarm_ = false;
};

}  // namespace dunlin::embedded

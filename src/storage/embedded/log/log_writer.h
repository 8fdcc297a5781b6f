#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "storage/embedded/log/batch_codec.h"
#include "storage/embedded/log/segment_pool.h"

namespace dunlin::embedded {

// What one batch has cost, for metrics.
struct BatchMeasure {
  std::size_t records = 0;
  std::chrono::nanoseconds took{0};       // write and sync
  std::chrono::nanoseconds sync_took{0};  // 0: it was not synced
};

// Appends batches to the message log. Committer thread only.
//
// A batch is one write and, when asked, one fdatasync. When either fails, the segment is never written again and nothing since the last
// good sync is believed: everything unsynced (kept here as messages, with its seqs) goes with the new batch into a spare, whose batches
// name the old segment's last synced place as its end: that is the durable cut. If that fails too, append() fails, the writer is *broken*,
// and the caller takes the batch's seqs back; what was acked below fsync before stays here and goes out with the next success. Generations
// are never used twice, also not those of failed attempts; the cut makes them void.
class LogWriter {
 public:
  // A segment that will not be written any more: its file, and the highest position of its records.
  struct Sealed {
    std::string file;
    std::uint64_t generation = 0;
  };
  struct Start {
    std::uint32_t secret = 0;
    std::uint64_t last_generation = 0;  // of any file
    LogPlace end;                       // of the valid log
    LogPosition last;                   // of the valid log; durable
  };

  LogWriter(SegmentPool& pool, Start start);
  ~LogWriter();

  // Largest encoded batch that append() takes: a quarter of a segment.
  std::uint32_t max_batch_bytes() const { return max_batch_bytes_; }
  // What a batch of several messages should not exceed: longer ones only make their senders wait.
  std::uint32_t good_batch_bytes() const { return good_batch_bytes_; }

  // Writes the messages, which have their places; ok means: as durable as `sync` says. Calls on_seal before a new segment is begun.
  // `cursors` ride behind them in the same write, if that succeeds; what has to be written once more goes without.
  Status append(std::span<const MessagePtr> messages, LogPosition first, bool sync, std::string_view cursors = {});
  // Makes everything durable that was written.
  Status sync();
  // Writes the end mark of a clean stop (synced).
  Status end(LogPosition next);
  // Tries to get out of the broken state without a batch.
  Status heal(LogPosition next);
  // Ends the current segment now, if anything is in it.
  Status seal();

  // Records that were told before an append() of them failed: they stay here, unsynced, and go out with the next success. At most
  // one batch: append() has succeeded since the last call.
  void owe(std::span<const MessagePtr> messages);

  bool broken() const { return broken_; }
  bool has_unsynced() const { return !unsynced_.empty(); }
  // Records at or below it are on durable storage, as far as this writer wrote them.
  LogPosition synced_through() const { return synced_through_; }
  std::uint64_t failovers() const { return failovers_; }
  // How long the fdatasync of the last append() took; 0 when it made none.
  std::chrono::nanoseconds sync_took() const { return sync_took_; }
  // Where durable content of the current segment ends, for backup. Generation 0: no segment yet.
  LogPlace synced_place() const { return synced_; }
  const std::string& current_file() const { return slot_.name; }

  std::function<void(const Sealed&)> on_seal;

 private:
  struct Buffer;

  Status write_batch(std::span<const MessagePtr> messages, LogPosition first, BatchHead::Kind kind, std::string_view cursors = {});
  Status failover(std::span<const MessagePtr> messages, LogPosition first, BatchHead::Kind kind);
  Status try_spare(std::span<const MessagePtr> messages, LogPosition first, BatchHead::Kind kind);
  Status begin_segment();
  void seal_current(std::uint32_t valid_end);
  void note_synced();

  SegmentPool& pool_;
  const std::uint32_t secret_;
  const std::uint32_t max_batch_bytes_;
  const std::uint32_t good_batch_bytes_;
  std::unique_ptr<Buffer> buffer_;

  SegmentSlot slot_;  // no file: none begun yet
  std::uint64_t generation_ = 0;
  std::uint32_t offset_ = 0;  // where the next batch goes
  LogPlace previous_;         // what the current segment names as the one before
  LogPlace synced_;           // everything before is durable
  std::uint64_t last_generation_;
  std::vector<MessagePtr> unsynced_;  // written and told since the last sync
  std::uint64_t unsynced_bytes_ = 0;
  LogPosition synced_through_;
  LogPosition written_through_;
  std::uint64_t failovers_ = 0;
  std::chrono::nanoseconds sync_took_{0};
  bool broken_ = false;
};

}  // namespace dunlin::embedded

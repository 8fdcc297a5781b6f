#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/siphash.h"
#include "messaging/ports/device_states.h"
#include "messaging/ports/feed.h"
#include "messaging/ports/inboxes.h"
#include "messaging/ports/timelines.h"
#include "runtime/offload.h"
#include "storage/embedded/file/file_system.h"
#include "storage/embedded/history/history.h"
#include "storage/embedded/log/log_writer.h"

namespace dunlin::embedded {

struct EmbeddedOptions {
  std::string path;                           // the data folder; created when missing
  OffloadPool* offload = nullptr;             // all reads of disk run there; outlives the store
  const Clock* clock = nullptr;               // null: the system's
  Durability durability = Durability::Fsync;  // the strongest level given; requests above it get it all the same, never more

  std::uint64_t segment_bytes = 16ULL << 20;   // a batch takes a quarter of it at most, and a message must fit into one
  std::uint64_t memory_bytes = 0;              // that the process may use; 0 = memory_limit(). Bounds all that is a cache or a queue below
  std::uint64_t window_bytes = 0;              // memory of the not yet ingested part; 0 = min(128 MiB, memory_bytes / 8)
  bool keep_recent = false;                    // what is ingested stays in memory too, while the window has room
  std::uint64_t backlog_bytes = 128ULL << 20;  // log not yet ingested; bounds cold start too
  std::uint64_t kept_bytes = 1ULL << 30;       // log behind that, kept for followers
  std::uint64_t head_cache_bytes = 64ULL << 20;
  std::uint64_t queue_bytes = 32ULL << 20;       // taken by append() and not answered yet; beyond: Overloaded
  double reserve_fraction = 0.05;                // of the disk, kept free of sends
  std::uint64_t reserve_bytes_max = 4ULL << 30;  // and never more than this, so that a large disk is not wasted

  // History (see history/history.h)
  std::chrono::seconds volume_span{86400};
  std::uint64_t volume_bytes = 8ULL << 30;
  std::chrono::seconds retention{0};
  std::uint64_t retention_bytes = 0;
  std::size_t block_cache_bytes = 64ULL << 20;
  std::size_t state_cache_bytes = 16ULL << 20;
  std::size_t state_write_buffer_bytes = 8ULL << 20;  // four of them at most
  std::chrono::milliseconds retain_every{60000};

  // Recalled content leaves the log in rounds, history now and then (docs/design/recall.md).
  std::chrono::milliseconds recall_every{20'000};
  std::chrono::milliseconds recall_rewrite_every{6 * 3600 * 1000};
  std::size_t recalls_max = 65'536;  // that wait for it; beyond: Overloaded

  std::function<void(const BatchMeasure&)> on_batch;  // after every batch, on the committer's thread; for metrics

  // For tests only; the composition root sets none of them from configuration.
  FileSystem* file_system = nullptr;                                             // null: POSIX
  std::function<void(std::string_view point)> fault_point;                       // named steps: seal, sort, ingest, recycle, trimmed
  std::function<Result<std::unique_ptr<History>>(HistoryOptions)> open_history;  // null: History::open
  std::chrono::milliseconds heal_every{500};                                     // pause between attempts to write again after a failure
  SipHash128 (*dedup_hash)(const SipKey&, std::string_view) = &siphash128;       // a bad one forces collisions
  bool start_indexer = true;                                                     // false: segments are sealed but stay in the window
};

// What start-up found in the log.
struct RecoveryReport {
  std::uint64_t records = 0;          // put back into the window
  std::uint64_t cut_bytes = 0;        // torn tail, copied aside
  std::uint64_t corrupt_records = 0;  // named in the log, shown as Corrupt gaps
  bool epoch_renewed = false;
};

struct LogStats {
  std::uint64_t batches = 0;
  std::uint64_t records = 0;
  std::uint64_t syncs = 0;
  std::uint64_t commit_ns = 0;  // sum over batches of write + sync
  std::uint64_t window_bytes = 0;
  std::uint64_t log_bytes = 0;   // not yet ingested
  std::uint64_t kept_bytes = 0;  // ingested, kept for followers
  std::uint64_t failovers = 0;
  std::uint64_t cursor_bytes = 0;     // of devices' cursors that rode with batches
  std::uint64_t recalls_waiting = 0;  // whose content is not out of all files
};

// The store of one node: message log, window, history and state in one data folder (docs/storage.md, docs/design/embedded-store.md).
// One owner; open() locks the folder (Busy names the pid that holds it), recovers, and leaves it ready to append. Close: the
// destructor (or close()) settles the appends taken, writes the end mark and a clean meta. Appends that come during or after close() are
// refused with StoreUnavailable, by the committer like all others; it ends with the object. Call close() after the sessions have ended and
// before the offload pool is stopped; destroy the store before the listener, the offload pool and the workers.
// One order over everything: a position in anybody's inbox is the record's position in the log.
// Threads: a committer and an indexer of its own; see the ports for the callers'.
class EmbeddedStore : public Timelines, public Inboxes, public Feed {
 public:
  static Result<std::unique_ptr<EmbeddedStore>> open(EmbeddedOptions options);

  virtual void close() = 0;  // idempotent
  virtual const RecoveryReport& recovery() const = 0;
  virtual LogStats log_stats() const = 0;
  virtual History::Stats history_stats() const = 0;
  // To answer reads, those of state() included, from memory or disk.
  virtual std::uint64_t rows_read() const = 0;
  // Those of them that came from history or state, not from the window.
  virtual std::uint64_t disk_rows_read() const = 0;
  // The rows about users of the same data folder; lives as long as the store.
  virtual DeviceStates& state() = 0;

  // Seals the segment that is being written, if it holds anything, and waits until all before is in history or the deadline passes.
  virtual Status flush_to_history(std::chrono::milliseconds deadline) = 0;

  // A copy into an empty or missing folder, while the store serves. Blocks: call it from a thread that may. `progress` saying false ends
  // it; what was copied until then is no backup.
  struct BackupProgress {
    std::uint64_t done_bytes = 0;
    std::uint64_t total_bytes = 0;
  };
  virtual Status backup_to(const std::string& folder, const std::function<bool(const BackupProgress&)>& progress) = 0;
};

}  // namespace dunlin::embedded

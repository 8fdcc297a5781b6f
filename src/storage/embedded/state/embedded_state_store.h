#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/clock.h"
#include "messaging/ports/device_states.h"
#include "messaging/ports/read_raises.h"
#include "runtime/offload.h"
#include "storage/embedded/state/cursor_riders.h"
#include "storage/embedded/state/recall_rows.h"

namespace rocksdb {
class FileSystem;
}  // namespace rocksdb

namespace dunlin::embedded {

struct StateOptions {
  std::string path;                // folder of its own inside the data folder
  OffloadPool* offload = nullptr;  // outlives the store, and is stopped before it goes
  ReadRaises* raises = nullptr;    // stamps them; outlives the store. Null, for tests: no inbox has anything
  std::size_t block_cache_bytes = 16 << 20;
  std::size_t write_buffer_bytes = 8 << 20;              // each of four
  std::shared_ptr<rocksdb::FileSystem> files = nullptr;  // for tests; null: the machine's
  const Clock* clock = nullptr;                          // for the order of cursors; null: the system's
};

// Cursors, read positions and recalls in a RocksDB instance with a write-ahead log: small rows, written when a device detaches or every
// few seconds, never for each message (docs/storage-history.md gives keys and values). A write is in the kernel when its task ends,
// so kill -9 keeps it; sync() makes everything before it safe from power loss.
//
// Tasks run on the offload pool; the others block. Any thread. Writes never wait for a flush or compaction that is behind: they fail
// with Overloaded. After a full disk or an I/O error the next write tries to resume the instance.
class EmbeddedStateStore : public DeviceStates, public RecallRows {
 public:
  // Corrupt, naming the restore command, when the instance's metadata is damaged; Busy when another process has it open.
  static Result<std::unique_ptr<EmbeddedStateStore>> open(StateOptions options);

  virtual std::uint64_t rows_read() const = 0;  // to answer devices, read positions and changes
  // Noted cursors on their way into the log.
  virtual CursorRiders& riders() = 0;
  // Those that rode up to `through` become rows, which are durable when it returns. Blocks until the pool has
  // done it; not for a thread of the pool.
  virtual Status keep_cursors(LogPosition through) = 0;
  // Those that riders() has read back from the log, of that epoch: the number of rows that they renewed. Before anything else is asked.
  virtual Result<std::size_t> take_back_cursors(Epoch epoch) = 0;
  // The highest position that any cursor of this epoch has ever said, forgotten devices included; 0 for none. As durable as the cursors.
  virtual InboxPosition highest_cursor(Epoch epoch) = 0;
  // The log has lost what is behind `last`, and seqs are given again: read positions that were raised since go no further than `head` says.
  // Reads every one of them. Gives how many were lowered.
  using HeadOf = std::function<Result<MessageSeq>(const ConversationId&)>;
  virtual Result<std::uint64_t> lower_read_positions(InboxPosition last, const HeadOf& head) = 0;
  // Everything confirmed so far is on durable storage. The indexer calls it before it lets a log segment go.
  virtual Status sync() = 0;
  // A consistent copy into an empty or missing folder; concurrent with everything.
  virtual Status checkpoint(const std::string& folder) = 0;
};

// Reads every row of a folder and changes nothing; the number of rows, or Corrupt. For `dunlin verify`.
Result<std::uint64_t> verify_state(const std::string& path);

}  // namespace dunlin::embedded

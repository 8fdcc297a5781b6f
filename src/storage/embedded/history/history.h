#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "messaging/model/epoch.h"
#include "storage/embedded/activity.h"

namespace rocksdb {
class FileSystem;
}  // namespace rocksdb

namespace dunlin::embedded {

// What a dedup entry holds: enough to answer a repeat, and to tell a repeat from another message under the same id.
struct DedupKey {
  std::uint64_t high = 0;  // SipHash-128 of (conversation, sender, client_msg_id), keyed with the store's secret
  std::uint64_t low = 0;
  auto operator<=>(const DedupKey&) const = default;
};
struct DedupEntry {
  DedupKey key;
  std::uint64_t body_digest = 0;  // keyed digest of content type and body
  MessageSeq seq;
  std::uint64_t time_ms = 0;  // log time; kept 24 h from here
};

// One key of a batch of look-ups, and what came of it.
struct DedupLookup {
  DedupKey key;
  std::optional<DedupEntry> found;
  std::optional<Error> failed;  // nobody can say whether there is an entry
};

// A record whose bytes in the log are damaged: it has its place for ever, but no content.
struct LostRecord {
  ConversationId conversation;
  std::uint64_t conversation_number = 0;
  MessageSeq seq;
  LogPosition position;
};

// A message whose content has been recalled, and which is in history.
struct RecalledRecord {
  std::uint64_t conversation_number = 0;
  MessageSeq seq;
  LogPosition position;
};

// A sealed part of the log, handed over by the log for good: all records between two positions, in commit order. Positions are dense
// but for `lost`, and for records of types that this version skips. A lost record still raises its conversation's head, and
// range() shows it as a Corrupt gap.
struct SealedSegment {
  std::uint64_t id = 0;  // ascending, never reused in an epoch
  LogPosition first;
  LogPosition last;
  std::uint64_t first_time_ms = 0;
  std::uint64_t last_time_ms = 0;
  std::span<const MessagePtr> records;  // one that is_recalled() is stored without content; range() shows it as a NotVisible gap
  std::span<const DedupEntry> dedup;    // one for each record, same order
  std::span<const LostRecord> lost;     // in log order; nearly always empty
};

struct HistoryOptions {
  std::string path;                         // folder of its own inside the data folder
  std::chrono::seconds volume_span{86400};  // a new volume begins when the newest is older or larger than this
  std::uint64_t volume_bytes = 8ULL << 30;
  std::chrono::seconds retention{0};  // 0 = keep for ever
  std::uint64_t retention_bytes = 0;  // 0 = no bound
  std::size_t block_cache_bytes = 64 << 20;
  const Clock* clock = nullptr;
  std::shared_ptr<rocksdb::FileSystem> files;  // for tests; null: the machine's
  // Named points at which tests kill the process or inject errors; null in production.
  std::function<void(std::string_view point)> fault_point;
};

// Several reads at one moment of history, sharing what they open. Whoever merges them with the window takes its pin first and keeps it for
// as long. One thread, one job; ends before the History.
class HistoryRead {
 public:
  virtual ~HistoryRead() = default;
  virtual LogPosition position() const = 0;
  virtual LogPosition trimmed_through() const = 0;
  // As the calls of History.
  virtual Result<ActivityPage> activity_since(const UserId& user, LogPosition after, std::size_t limit) = 0;
  virtual Result<std::optional<ConversationHead>> head(const ConversationId& conversation) = 0;
  // The caller knows that all it asks for is newer than that position: older files are passed over (0: it does not know).
  virtual Result<RangePage> range(const ConversationHead& head, const RangeQuery& query, LogPosition newer_than) = 0;
  virtual Result<MessageSeq> seq_at(const ConversationHead& head, LogPosition position) = 0;
};

// Everything of the log up to position(), in RocksDB: timeline, dedup, activity (a set of column families for each volume), heads and
// conversation list (never trimmed). Written by the indexer alone, one atomic ingest of sorted files for each segment; no write-ahead
// log. Reads block: offload pool only, any number of threads, beside one writer.
class History {
 public:
  // Fails with Corrupt, naming the restore command, when RocksDB's own metadata is damaged.
  static Result<std::unique_ptr<History>> open(HistoryOptions options);
  virtual ~History() = default;

  // Every record at or below it is in history; 0 when empty.
  virtual LogPosition position() const = 0;
  // Largest conversation number given so far.
  virtual std::uint64_t last_conversation_number() const = 0;
  // A segment that ends at or below position() is refused without effect (already there). Indexer thread.
  virtual Status ingest(const SealedSegment& segment) = 0;

  virtual Result<std::optional<ConversationHead>> head(const ConversationId& conversation) = 0;
  virtual Result<std::optional<DedupEntry>> dedup(const DedupKey& key) = 0;
  // Many at once: each file is asked for all of them together, which costs a fraction of asking one by one.
  virtual void dedup(std::span<DedupLookup> lookups) = 0;
  // Messages of one conversation with from <= seq <= to that are at or below position(), cut by the limits; corrupt and trimmed parts come
  // as gaps.
  virtual Result<RangePage> range(const ConversationHead& head, const RangeQuery& query) = 0;
  virtual Result<MessageSeq> seq_at(const ConversationHead& head, LogPosition position) = 0;
  virtual Result<ActivityPage> activity_since(const UserId& user, LogPosition after, std::size_t limit) = 0;
  virtual Result<ActivityPage> activity_newest(const UserId& user, LogPosition from, std::size_t limit) = 0;
  // Ordered by the bytes of the conversation id (the window merges its own by that order).
  virtual Result<ConversationsPage> conversations(const UserId& user, const ConversationId& after, std::size_t limit) = 0;
  virtual Result<FeedPage> feed(LogPosition after, std::size_t max_messages) = 0;

  virtual std::unique_ptr<HistoryRead> begin_read() = 0;

  // Raises the trim watermark, then drops volumes that retention no longer keeps. Indexer thread, now and then.
  virtual Status retain(WallTime now) = 0;
  // Everything at or below it may be trimmed. Raised before any read can miss anything: who asks after a read knows of all that it lacked.
  virtual LogPosition trimmed_through() const = 0;

  // Begins to take the content of these records out of the files. Returns soon; Busy while an earlier one runs, another error when it
  // could not begin. From its return on reads that begin find the records without content. Asked again for the same records (after a
  // crash, say) it does what is left to do. Records that are trimmed or lost are fine; none may be above position(). Indexer thread.
  virtual Status begin_erase(std::vector<RecalledRecord> records) = 0;
  // Nothing while it runs, or when none was begun; once its status when it has ended. Without an error the content of the records is in no
  // file of history any more, but for not_erased(). With one nothing is known: begin again later. Indexer thread.
  virtual std::optional<Status> erase_done() = 0;
  // Of the erase whose status erase_done() gave last: records in a damaged volume, whose content stays until retention drops it
  // (trimmed_through() reaches their position). They have to stay hidden by the caller, since reads around damage may meet it; to ask
  // again is no use before a restart.
  virtual std::vector<RecalledRecord> not_erased() const = 0;

  // A consistent copy (hard links) into an empty folder; concurrent with everything.
  virtual Status checkpoint(const std::string& folder) = 0;

  struct Stats {
    std::uint64_t bytes = 0;
    std::uint64_t volumes = 0;
    std::uint64_t corrupt_files = 0;
    std::uint64_t rows_read = 0;  // dunlin_store_rows_read_total
    bool clock_trusted = true;    // else retention and dedup expiry wait until the wall clock is right again
  };
  virtual Stats stats() const = 0;
};

// Reads every row and checks it; calls `corrupt` for each damaged interval. For `dunlin verify`.
struct CorruptInterval {
  ConversationId conversation;
  MessageSeq from;
  MessageSeq to;
};
struct HistoryReport {
  std::uint64_t records = 0;
  LogPosition position;  // as History::position(): the log's records at or below it are counted here
};
// `progress` is told after each conversation how many of how many there were.
Result<HistoryReport> verify_history(const std::string& path, const std::function<void(const CorruptInterval&)>& corrupt,
                                     const std::function<void(std::uint64_t done, std::uint64_t total)>& progress = nullptr);

}  // namespace dunlin::embedded

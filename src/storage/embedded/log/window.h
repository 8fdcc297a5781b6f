#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/thread_annotations.h"
#include "storage/embedded/activity.h"
#include "storage/embedded/history/history.h"
#include "storage/embedded/log/conversations.h"
#include "storage/embedded/log/dedup_index.h"
#include "storage/embedded/log/window_users.h"

namespace dunlin::embedded {

// The window's share of one log segment: what the indexer hands to history.
struct WindowPart {
  std::uint32_t number = 0;  // ascending
  LogPosition first;
  LogPosition last;
  std::uint64_t bytes = 0;
  std::vector<MessagePtr> records;           // by position
  std::vector<Conversation*> conversations;  // one for each record
  std::vector<DedupEntry> dedup;             // one for each record
  std::vector<LostRecord> lost;
  std::vector<Conversation*> lost_conversations;
  // guarded by Window::mutex_
  // Set when sealed: its segment, then those after it that hold nothing of the window but through which it is found after a crash.
  std::vector<std::string> files;
  bool sealed = false;
  bool ingested = false;
  std::uint32_t pins = 0;
};

// The newest part of the log in memory: what history does not hold yet, and what came before that as long as there is room (a device that
// comes back soon is served from here, without a read of files).
//
// Writer: the committer's thread alone (and recovery before it starts). Readers: any thread.
// Invariants:
//  1. A reader sees a record only after publish(), which the committer calls when the record is durable at its level.
//  2. At every moment, for each position p at or below published(): p is in the window, or in history, or both. A part leaves the window
//  only
//     after History::ingest of it has returned.
//  3. A pin, taken before history is read, keeps everything in the window that the window held then and history did not: pin → read
//     history → look into the window finds all. Pins do not hold back ingestion, only eviction, and a part that is ingested gets no new
//     pins, so eviction is never starved. Who reads without a pin asks for floor() afterwards.
//  4. A conversation's run is the dense end of its seqs: if the window holds seq s of a conversation it holds all later ones.
//     (Parts leave in order, records within a part in order.)
//  5. Conversations and users with records in the window stay where they are; both are removed by the writer only.
//  6. The window answers exactly for every position above floor().
// Lock order: users' shard → conversations' shard; mutex_ is taken alone or under the indexer's.
class Window {
 public:
  // `keep_bytes`: parts that history holds stay while the window takes less than this. 0: they leave at once.
  Window(Conversations& conversations, LogPosition history, std::uint64_t keep_bytes = 0);

  // -- the writer
  struct Item {
    MessagePtr message;
    Conversation* conversation = nullptr;
    DedupEntry dedup;
    std::size_t dedup_slot = 0;  // where the index holds it, for the batch
  };
  // The items of one batch, in order of position; their conversations' heads become visible.
  void publish(std::span<Item> items) EXCLUDES(mutex_);
  void publish_lost(LostRecord lost, Conversation& conversation) EXCLUDES(mutex_);
  // Ends the active part, which is in `file`. An empty part takes no place: its file stays as long as the newest sealed part, and when
  // there is none that history lacks, returns false: the file is free.
  bool seal(const std::string& file) EXCLUDES(mutex_);
  DedupIndex& dedup() { return dedup_; }
  struct Known {
    const DedupEntry* entry = nullptr;
    LogPosition position;
  };
  Known dedup_at(DedupPlace place) const EXCLUDES(mutex_);
  // Removes up to `records` records of ingested, unpinned parts that are to leave; true when there is more to do.
  bool evict(std::size_t records) EXCLUDES(mutex_);
  // A part that has begun to leave goes entirely.
  bool can_evict() const {
    if (ingested_parts_.load(std::memory_order_acquire) == 0) return false;
    return evicted_in_front_.load(std::memory_order_relaxed) != 0 || bytes() > keep_bytes_ ||
           trimmed_.load(std::memory_order_acquire) > floor_.load(std::memory_order_relaxed);
  }
  // Files of sealed parts that are not ingested.
  std::vector<std::string> files() const EXCLUDES(mutex_);
  std::uint64_t bytes() const { return bytes_.load(std::memory_order_relaxed) + dedup_.bytes(); }

  // -- the indexer
  WindowPart* oldest_sealed() EXCLUDES(mutex_);  // not ingested yet; null when none. Constant until mark_ingested
  std::vector<std::string> mark_ingested(WindowPart& part) EXCLUDES(mutex_);  // returns its files
  // What of bytes() history does not hold.
  std::uint64_t waiting_bytes() const { return bytes() - std::min(bytes(), ingested_bytes_.load(std::memory_order_relaxed)); }
  // Retention has removed everything up to here: it leaves the window too.
  void trim(LogPosition through) { trimmed_.store(through.value(), std::memory_order_release); }

  // -- any thread
  class Pin {
   public:
    Pin() = default;
    Pin(Window& window, WindowPart& part) : window_(&window), part_(&part) {}
    Pin(Pin&& other) noexcept : window_(std::exchange(other.window_, nullptr)), part_(other.part_) {}
    Pin& operator=(Pin&& other) noexcept {
      std::swap(window_, other.window_);
      std::swap(part_, other.part_);
      return *this;
    }
    ~Pin() {
      if (window_) window_->unpin(*part_);
    }

   private:
    Window* window_ = nullptr;
    WindowPart* part_ = nullptr;
  };
  Pin pin() EXCLUDES(mutex_);
  LogPosition floor() const { return LogPosition(floor_.load(std::memory_order_acquire)); }
  // Everything up to here has left altogether; floor() moves before a part begins to leave.
  LogPosition left_through() const { return LogPosition(left_.load(std::memory_order_acquire)); }
  LogPosition published() const { return LogPosition(published_.load(std::memory_order_acquire)); }
  std::uint64_t record_bytes() const { return bytes_.load(std::memory_order_relaxed); }
  WindowUsers& users() { return users_; }

  // Entries for positions above `after`, oldest first; at most `limit` conversations. scanned_to: see ActivityPage.
  ActivityPage activity_since(std::string_view user, LogPosition after, std::size_t limit);
  // Newest first, for positions above `floor`, at or below `from`.
  ActivityPage activity_newest(std::string_view user, LogPosition floor, LogPosition from, std::size_t limit);
  std::vector<ConversationId> conversations_of(std::string_view user, std::string_view after);  // behind `after`, by bytes
  // Highest seq of the run at or below the position; nothing when it lies before the run.
  static std::optional<MessageSeq> seq_at(const Conversation& conversation, LogPosition position) REQUIRES(conversations_shard);
  // Records after a position that history had reached when the caller, who holds a pin, asked it.
  FeedPage feed(LogPosition after, std::size_t max_messages) EXCLUDES(mutex_);

 private:
  void add_part() REQUIRES(mutex_);
  void unpin(WindowPart& part) EXCLUDES(mutex_);
  void push(Conversation& conversation, MessageSeq seq, LogPosition position, MessagePtr message);
  void pop_through(Conversation& conversation, MessageSeq seq);

  Conversations& conversations_;
  WindowUsers users_;
  DedupIndex dedup_;  // writer only
  const std::uint64_t keep_bytes_;
  std::atomic<std::size_t> evicted_in_front_{0};  // set by the writer: records of the front part that are gone already
  std::atomic<std::uint64_t> floor_;
  std::atomic<std::uint64_t> left_;
  std::atomic<std::uint64_t> trimmed_{0};
  std::atomic<std::uint64_t> published_{0};
  std::atomic<std::uint64_t> bytes_{0};
  std::atomic<std::uint64_t> ingested_bytes_{0};  // of the parts that history holds
  std::atomic<std::uint32_t> ingested_parts_{0};

  mutable Mutex mutex_;
  std::deque<std::unique_ptr<WindowPart>> parts_ GUARDED_BY(mutex_);  // oldest first; the last is active
  std::uint32_t next_part_ GUARDED_BY(mutex_) = 0;
};

}  // namespace dunlin::embedded

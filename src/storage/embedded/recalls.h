#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/thread_annotations.h"
#include "messaging/ports/timelines.h"
#include "storage/embedded/history/history.h"
#include "storage/embedded/state/recall_rows.h"

namespace dunlin::embedded {

// The recalled messages whose content is not out of all files yet: at most `most`, each with a durable row.
//
// Every read of messages holds a Reading from before it looks at any copy, and hides with it just before its page leaves. So it does not
// matter which copy it met. A row that is done is taken from the state store first and from here only when the reads that had begun before
// have ended: one of them may still hold what it has copied out of the window. While nothing waits, a Reading costs an atomic load or two.
//
// Owner: the store. Any thread adds and reads; what is told about rounds, the sort and history comes from the indexer's thread. The mutex
// is a leaf.
class Recalls {
 public:
  Recalls(RecallRows& rows, const Clock& clock, std::size_t most) : rows_(rows), clock_(clock), most_(most) {}

  // Before any read. Rows above `last` are removed, durably: the records are gone, and their places will be given again.
  Status load(LogPosition last) EXCLUDES(mutex_);

  // -- any thread
  // Durable when it returns; fine when it is here. Blocks.
  Status add(const MessagePlace& place) EXCLUDES(mutex_);
  std::size_t waiting() const { return count_.load(std::memory_order_acquire); }

  class Reading {
   public:
    explicit Reading(Recalls& recalls);
    ~Reading();
    Reading(const Reading&) = delete;
    Reading& operator=(const Reading&) = delete;
    void hide(RangePage& page, bool newest_first) const;
    void hide(FeedPage& page) const;

   private:
    Recalls& recalls_;
    int phase_ = -1;  // where it is counted; -1: nothing was recalled when it began
  };

  // -- the indexer's thread: the log
  bool any_in_log() const EXCLUDES(mutex_);
  void begin_round() EXCLUDES(mutex_);                  // with all that wait now
  void end_round() EXCLUDES(mutex_);                    // the log holds nothing of those any more
  std::vector<RecallRow> all() const EXCLUDES(mutex_);  // by position
  // The records as history is to get them: `out` is filled when some of them are recalled, which are returned.
  std::vector<RecalledRecord> strip(std::span<const MessagePtr> records, std::vector<MessagePtr>& out) const EXCLUDES(mutex_);
  // -- history
  // What it may hold up to `stored`, when some of that has waited for `wait`; else nothing.
  std::vector<RecalledRecord> due_in_history(LogPosition stored, Milliseconds wait) const EXCLUDES(mutex_);
  void out_of_history(std::span<const RecalledRecord> records) EXCLUDES(mutex_);
  // In damaged files, until retention takes those: not due again in this life.
  void stuck_in_history(std::span<const RecalledRecord> records) EXCLUDES(mutex_);
  // -- the end
  // Lets go of what is out of the log, of the window, whose records through `window` have left, and of history, out of which retention has
  // taken everything through `trimmed`.
  Status retire(LogPosition window, LogPosition trimmed) EXCLUDES(mutex_);

 private:
  struct Key {
    std::uint64_t conversation_number = 0;
    MessageSeq seq;
    bool operator==(const Key&) const = default;
  };
  struct KeyHash {
    std::size_t operator()(const Key& key) const { return (key.conversation_number * 0x9E3779B97F4A7C15ULL) ^ key.seq.value(); }
  };
  struct Entry {
    LogPosition position;
    MonotonicTime since;
    bool in_round = false;
    bool in_log = true;
    bool in_history = true;
    bool stuck = false;
    bool leaving = false;  // its row is gone
  };

  bool hides(const Message& message) const REQUIRES(mutex_);
  std::vector<LogPosition> hidden_among(std::span<const MessagePtr> messages) const EXCLUDES(mutex_);
  Entry* find(const RecalledRecord& record) REQUIRES(mutex_);
  void drop_left() EXCLUDES(mutex_);

  RecallRows& rows_;
  const Clock& clock_;
  const std::size_t most_;
  std::atomic<std::size_t> count_{0};
  std::atomic<int> phase_{0};
  std::array<std::atomic<std::uint64_t>, 2> readings_{};
  mutable Mutex mutex_;
  std::unordered_map<Key, Entry, KeyHash> entries_ GUARDED_BY(mutex_);
  std::size_t adding_ GUARDED_BY(mutex_) = 0;
  bool leaving_ = false;  // indexer's thread: some wait for the readings of the other phase
};

}  // namespace dunlin::embedded

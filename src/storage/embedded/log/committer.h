#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "messaging/delivery/send_orders.h"
#include "messaging/ports/one_order.h"
#include "storage/embedded/log/between_batches.h"
#include "storage/embedded/log/intake.h"
#include "storage/embedded/log/log_writer.h"

namespace dunlin::embedded {

struct CommitterOptions {
  const Clock* clock = nullptr;
  std::uint64_t window_bytes = 128ULL << 20;
  std::chrono::milliseconds heal_every{500};
  // How long a full window holds sends back (the indexer catches up) before they are refused.
  std::chrono::milliseconds full_window_wait{2000};
  // Before the first record that is acked at a level below fsync, and again before the first below that (weak_acks.h).
  std::function<Status(Durability)> before_weak_ack;
  // What rides behind a batch whose last record stands at that position: cursors, of at most so many bytes, into the empty string. On the
  // committer's thread; must not wait.
  std::function<void(LogPosition, std::size_t, std::string&)> take_cursors;
  // After every batch, on the committer's thread.
  std::function<void(const BatchMeasure&)> on_batch;
};

// Gives every send its place, makes batches durable and tells the outcomes. One thread; reads no disk.
//
//   queue ─► decide (order, dedup, place) ─► one write, one fdatasync ─► window ─► listener ─► settled
//
// Sends gather in the queue while the last batch is being flushed: that is the group commit.
// Invariants:
//  1. Places are given in `Conversation::given`, ahead of the published head. After a failed batch `given` = head again for every
//  conversation
//     of it, the positions, numbers and dedup entries of the batch are taken back, and the failed bytes are void (LogWriter), all before
//     the next batch is made: no seq or position is given twice to records that can both be read.
//  2. Nothing of a batch is told or shown before its write has succeeded, nor its fdatasync if any send of it or any duplicate in it asked
//     for Fsync. A duplicate of a record of the same batch shares that batch's fate. A batch of which all asked for Memory alone is told
//     first; when its write fails it is not taken back: the writer owes it (same seqs, before all that comes later), and nothing else is
//     told from memory until it has been written.
//  3. A send that is not provably new is stored only when the batch, the window and history (HistoryAnswer with its pin) all lack its key.
//     Where history was not asked (another session took an id of this one between intake and here), it is refused temporarily; the
//     repeat is looked up.
//  4. Refusals pass through SendOrders in the order of the sends, so that after the first temporary one of a session's conversation the
//     others get RetryInOrder.
//  5. Every Pending leaves exactly one outcome, and only then its conversation, session, pin and bytes are released.
//  6. settled() is raised after the listener has returned from both of its calls.
//  7. The listener is called by this thread alone, until stop() has returned: what comes after end_log() is refused here too.
class Committer {
 public:
  Committer(CommitterOptions options, Window& window, SendingSessions& sessions, Intake& intake, CommitQueue& queue, LogWriter& writer,
            LogPosition last, std::uint64_t last_conversation_number);
  ~Committer();

  void set_listener(StoreListener* listener) { listener_.store(listener, std::memory_order_release); }
  const StoreListener* listener() const { return listener_.load(std::memory_order_acquire); }
  void start();
  // Writes the end mark of a clean stop behind the last batch. From then on the log takes nothing: sends are refused with
  // StoreUnavailable, jobs between batches are not run. StoreUnavailable or Timeout as for those; Io when the mark cannot be written.
  Status end_log();
  // Answers all that is queued, then ends the thread. Nothing may be appended meanwhile.
  void stop();
  // Runs one round on the calling thread; for tests, without start().
  void run_once(std::chrono::milliseconds wait);

  // -- any thread
  LogPosition settled() const { return LogPosition(settled_.load(std::memory_order_acquire)); }
  void set_disk_low(bool low) { disk_low_.store(low, std::memory_order_release); }
  bool failing() const { return failing_.load(std::memory_order_acquire); }
  bool disk_low() const { return disk_low_.load(std::memory_order_acquire); }
  bool window_full() const { return window_full_.load(std::memory_order_acquire); }
  // See BetweenBatches; when no thread was ever started (tests), on the caller's.
  Status run_between_batches(const std::function<void()>& job, std::chrono::milliseconds deadline = BetweenBatches::kDeadline);

  struct Stats {
    std::atomic<std::uint64_t> batches{0};
    std::atomic<std::uint64_t> records{0};
    std::atomic<std::uint64_t> syncs{0};
    std::atomic<std::uint64_t> commit_ns{0};
    std::atomic<std::uint64_t> failovers{0};
    std::atomic<std::uint64_t> cursor_bytes{0};  // that rode, heads not counted
  };
  const Stats& stats() const { return stats_; }

 private:
  // An outcome that is only true if the batch succeeds refers to the send that it answers.
  struct Answer {
    Pending* pending = nullptr;
    bool needs_batch = false;
  };

  void run();
  void idle_work();
  std::size_t make_batch(std::size_t from);
  void decide(Pending& pending);
  void store(Pending& pending);
  bool answer_duplicate(Pending& pending);
  void duplicate(Pending& pending, const DedupEntry& original, LogPosition position, bool in_batch);
  bool is_new(Pending& pending);
  void note_foreign_use(const Pending& pending);
  AppendOutcome& answer(Pending& pending, bool needs_batch);
  void refuse(Pending& pending, ErrorCode code);
  void refuse_temporarily(Pending& pending, ErrorCode code);
  void commit();
  void commit_after_the_answers();
  Status write(std::span<const MessagePtr> records);
  void set_level(Durability level);
  bool allow_ack_at(Durability level);
  void note_failures();
  void take_back();
  void tell();
  void release(Pending& pending);
  void block(const Pending& pending, const Message& message);
  void end_session(Pending& pending);
  void finish_session(SessionKey key, SendingSession& session);
  bool can_write();
  void wait_for_window();

  // constant
  const CommitterOptions options_;
  Window& window_;
  SendingSessions& sessions_;
  Intake& intake_;
  CommitQueue& queue_;
  LogWriter& writer_;

  // any thread
  std::atomic<StoreListener*> listener_{nullptr};
  std::atomic<std::uint64_t> settled_;
  std::atomic<bool> disk_low_{false};
  std::atomic<bool> failing_{false};
  std::atomic<bool> window_full_{false};
  std::atomic<bool> started_{false};
  std::atomic<bool> stopping_{false};
  Stats stats_;
  BetweenBatches between_batches_;

  // committer's thread only
  SendOrders orders_;
  std::vector<Pending> input_;
  std::vector<Window::Item> items_;   // the batch
  std::vector<MessagePtr> messages_;  // its records, for the writer
  std::string cursors_;               // that ride with it
  std::vector<AppendOutcome> outcomes_;
  std::vector<Answer> answers_;  // one for each outcome
  BatchNews news_;
  std::uint64_t batch_bytes_ = 0;
  Durability batch_asks_ = Durability::Memory;  // the most that anything in it needs
  bool may_write_ = true;
  bool window_stuck_ = false;  // it stayed full for the whole wait: sends are refused at once until it has room
  Durability lowest_allowed_ = Durability::Fsync;
  bool log_ended_ = false;
  LogPosition last_;
  std::uint64_t last_number_;
  LogPosition batch_last_;  // last_ and last_number_ before the batch
  std::uint64_t batch_number_ = 0;
  std::uint64_t now_ms_ = 0;
  MonotonicTime next_heal_{};
  std::thread thread_;
};

}  // namespace dunlin::embedded

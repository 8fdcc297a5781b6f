#pragma once

#include <atomic>
#include <deque>
#include <span>
#include <vector>

#include "base/siphash.h"
#include "messaging/ports/timelines.h"
#include "runtime/offload.h"
#include "storage/embedded/history/history.h"
#include "storage/embedded/log/commit_queue.h"
#include "storage/embedded/log/conversations.h"
#include "storage/embedded/log/foreign_ids.h"
#include "storage/embedded/log/sending_sessions.h"
#include "storage/embedded/log/window.h"

namespace dunlin::embedded {

struct IntakeOptions {
  SipKey dedup_secret;
  std::uint64_t queue_bytes = 32ULL << 20;
  // The hash that makes dedup keys of (conversation, sender, client_msg_id). Tests put a bad one here to force collisions.
  SipHash128 (*hash)(const SipKey&, std::string_view) = &siphash128;
};

// Everything a send needs before the committer, which never reads disk: its dedup key, its conversation's head, and the look-up in
// history when it is not provably new. Any thread calls append(); look-ups run on the offload pool.
//
// Order: as soon as one send of a conversation waits for a look-up, all later ones of it queue behind (`waiting` is set), and are handed
// to the committer together in order. So sends of one session to one conversation reach the committer in the order of append().
// Provably new: `<session>-<n>` from that very session with n above all its earlier ones, in order of append(), while no other session has
// used an id of it. The first is decided here (a session's calls come one after another), the second by the committer in the order of
// the log; both must hold. Sessions are random and never opened twice, so nothing was stored under such an id before.
// Look-ups gather while others run, and one job answers all that wait: at most kLoaders jobs at a time, kLoadBatch conversations each, so
// that the pool stays free for reads. A look-up takes a pin on the window first and the send keeps it: what leaves the window meanwhile was
// in history before.
class Intake {
 public:
  Intake(IntakeOptions options, Conversations& conversations, SendingSessions& sessions, Window& window, History& history,
         OffloadPool& pool, CommitQueue& queue)
      : options_(options),
        conversations_(conversations),
        sessions_(sessions),
        window_(window),
        history_(history),
        pool_(pool),
        queue_(queue) {}

  void begin_session(SessionKey session) { sessions_.add(session); }
  void end_session(SessionKey session, Completer<void> ended);
  void append(std::span<AppendRequest> requests);
  // Has the committer refuse them; busy() does not count them.
  void refuse_late(std::span<AppendRequest> requests);
  DedupEntry dedup_of(const Message& message) const;
  std::uint64_t sender_hash(const Message& message) const;  // never 0

  // By the committer, for each outcome.
  void settled(std::uint32_t bytes) {
    queued_bytes_.fetch_sub(bytes, std::memory_order_relaxed);
    queued_.fetch_sub(1, std::memory_order_release);
  }
  void forget_foreign_ids(MonotonicTime now) { foreign_ids_.age(now); }
  Conversations::Shard& shard_of(const Conversation& conversation) { return conversations_.shard_of(conversation); }
  // Something taken is not settled, or a look-up still runs.
  bool busy() const { return queued_.load(std::memory_order_acquire) != 0 || loads_.load(std::memory_order_acquire) != 0; }
  bool loading() const { return loads_.load(std::memory_order_acquire) != 0; }
  LogPosition trimmed_through() const { return history_.trimmed_through(); }

 private:
  static constexpr std::size_t kLoaders = 2;
  static constexpr std::size_t kLoadBatch = 256;

  void prepare(Pending& pending, AppendRequest& request);
  void note_sender(const Pending& pending, const Message& message);
  bool is_provably_new(const Pending& pending) const;
  void route(Pending& pending, std::vector<Pending>& ready, std::vector<Conversation*>& to_load);
  // Of one batch, begun with the first head that memory lacks: it knows all that has left the window before the sends came.
  struct HeadsRead {
    std::unique_ptr<HistoryRead> history;
  };
  void load_soon(std::span<Conversation* const> conversations) EXCLUDES(load_mutex_);
  void loader_refused() EXCLUDES(load_mutex_);
  void run_loader() EXCLUDES(load_mutex_);
  std::vector<Conversation*> next_to_load() EXCLUDES(load_mutex_);
  bool load_goes_on(std::span<Conversation* const> unfinished) EXCLUDES(load_mutex_);
  void load(std::span<Conversation* const> conversations);
  bool load_head(Conversation& conversation, HeadsRead& heads);
  void look_up(std::vector<Pending>& items);
  void refuse_waiting(Conversation& conversation);
  void take_waiting(Conversation& conversation, std::vector<Pending>& out);
  bool finish_waiting(Conversation& conversation);

  const IntakeOptions options_;
  Conversations& conversations_;
  SendingSessions& sessions_;
  ForeignIds foreign_ids_;
  Window& window_;
  History& history_;
  OffloadPool& pool_;
  CommitQueue& queue_;
  std::atomic<std::uint64_t> queued_bytes_{0};
  std::atomic<std::uint64_t> queued_{0};
  std::atomic<std::uint64_t> loads_{0};  // conversations that are being loaded, and loaders
  Mutex load_mutex_;
  std::deque<Conversation*> to_load_ GUARDED_BY(load_mutex_);  // their `waiting` is set, so each stands here once
  std::size_t loaders_ GUARDED_BY(load_mutex_) = 0;
};

}  // namespace dunlin::embedded

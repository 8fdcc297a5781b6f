#pragma once

#include <algorithm>
#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "base/siphash.h"
#include "base/thread_annotations.h"
#include "messaging/delivery/send_orders.h"
#include "runtime/completion.h"
#include "storage/shared/shared_store.h"

namespace dunlin::shared {

// Conversations to buckets, alike on all nodes: no secret.
constexpr SipKey kBucketHash{1, 2};

// Doubles from one attempt to the next.
struct Backoff {
  Milliseconds next{10};
  Milliseconds most{1'000};
  Milliseconds take() { return std::exchange(next, std::min(next * 2, most)); }
};

constexpr Backoff kRedoPause{Milliseconds(1'000), Milliseconds(60'000)};

// A send on its way.
struct Waiting {
  AppendRequest request;
  bool overloaded = false;  // to be refused, but not before the fate of the earlier sends of its order is known
};

// What one append has stored, until it is noted and told. Ascending by seq in each conversation.
using StoredBatch = std::vector<ToldRecord>;

struct SharedStore::Bucket {
  Mutex mutex;
  SendOrders orders GUARDED_BY(mutex);
  std::deque<Waiting> waiting GUARDED_BY(mutex);
  std::deque<StoredBatch> to_note GUARDED_BY(mutex);
  std::size_t unnoted GUARDED_BY(mutex) = 0;  // records in to_note and in the note loop's hands
  std::vector<Due> noted GUARDED_BY(mutex);   // to be cleared with the next append
  MonotonicTime noted_since GUARDED_BY(mutex){};
  std::uint64_t last_number GUARDED_BY(mutex) = 0;
  bool appending GUARDED_BY(mutex) = false;
  bool noting GUARDED_BY(mutex) = false;
  bool open GUARDED_BY(mutex) = false;     // the senders of the batch under way were told that its fate is not known
  bool failing GUARDED_BY(mutex) = false;  // it is open, or its last append was refused, lately
  MonotonicTime failed_at GUARDED_BY(mutex){};
  Backoff redo_pause GUARDED_BY(mutex) = kRedoPause;
  MonotonicTime redo_from GUARDED_BY(mutex){};
};

// What the coroutines share with the store. They hold it, and end at their next step when the store has ended.
struct SharedStore::Core {
  Core(SharedOptions given, Engine& of, SessionDirectory& where, Bus& to, const Clock& time)
      : options(std::move(given)), engine(of), directory(where), bus(to), clock(time), buckets(options.buckets) {}

  const SharedOptions options;
  Engine& engine;
  SessionDirectory& directory;
  Bus& bus;
  const Clock& clock;
  std::atomic<StoreListener*> listener{nullptr};
  std::atomic<std::size_t> held_bytes{0};
  std::atomic<int> failing{0};  // buckets
  std::vector<Bucket> buckets;

  // -- the end
  Mutex end_mutex;
  CondVar calls_ended;
  std::atomic<bool> ended{false};       // set with the mutex held
  int calls GUARDED_BY(end_mutex) = 0;  // of the listener, under way
  std::multimap<MonotonicTime, Completer<void>> pauses GUARDED_BY(end_mutex);
  bool is_over() const { return ended.load(std::memory_order_acquire); }
  void end();
  // Until tick() finds it over, or the end.
  Completion<void> pause(Milliseconds time);
  void end_pauses(MonotonicTime now);
  // Nothing happens after the end, and the end waits for the call. It may come back into the store.
  template <class Call>
  void call_listener(Call call) {
    StoreListener* const to = listener.load(std::memory_order_acquire);
    {
      MutexLock lock(end_mutex);
      if (is_over() || to == nullptr) return;
      ++calls;
    }
    call(*to);
    MutexLock lock(end_mutex);
    if (--calls == 0) calls_ended.notify_all();
  }

  // -- sessions
  struct Session {
    std::size_t pending = 0;
    std::set<std::uint32_t> buckets;  // in which it has a send order
    std::vector<Completer<void>> waiters;
  };
  Mutex sessions_mutex;
  std::map<std::pair<std::uint64_t, std::uint64_t>, Session> sessions GUARDED_BY(sessions_mutex);
  static std::pair<std::uint64_t, std::uint64_t> key(const SessionKey& session) { return {session.high, session.low}; }
  void session_sends(const SessionKey& session, std::uint32_t bucket);
  void session_answered(const SessionKey& session);

  // -- sends
  struct Answers {
    std::vector<AppendOutcome> outcomes;
    std::vector<SessionKey> sessions;  // whose they are
    std::size_t bytes = 0;             // that nobody holds any more
  };
  std::uint32_t bucket_of(std::string_view conversation) const {
    return static_cast<std::uint32_t>(siphash64(kBucketHash, conversation) % options.buckets);
  }
  std::vector<AppendRequest> take_batch(Bucket& bucket, Append& append, Answers& refused);
  void answer(Answers answers);
  void tell_unknown(Bucket& bucket, std::vector<AppendRequest>& batch, Append& append);
  // What waits behind a batch that is open.
  void refuse_waiting(Bucket& bucket);
  void set_failing(std::uint32_t number, const Error* error);
};

}  // namespace dunlin::shared

#pragma once

#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "storage/shared/shared_store.h"

namespace dunlin::shared {

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
  std::vector<Due> noted GUARDED_BY(mutex);  // to be cleared with the next append
  MonotonicTime noted_since GUARDED_BY(mutex){};
  std::uint64_t last_number GUARDED_BY(mutex) = 0;
  bool appending GUARDED_BY(mutex) = false;
  bool noting GUARDED_BY(mutex) = false;
};

// What the coroutines share with the store. They hold it, and end at their next step when the store is gone: `ended` is set, and the
// listener is not called any more.
struct SharedStore::Core {
  Core(SharedOptions given, Engine& of, SessionDirectory& where, Bus& to, const Clock& time)
      : options(std::move(given)), engine(of), directory(where), bus(to), clock(time), buckets(options.buckets) {}

  const SharedOptions options;
  Engine& engine;
  SessionDirectory& directory;
  Bus& bus;
  const Clock& clock;
  std::atomic<StoreListener*> listener{nullptr};
  std::atomic<bool> ended{false};
  std::atomic<std::size_t> waiting_bytes{0};
  std::atomic<bool> failing{false};  // the last append was refused
  std::vector<Bucket> buckets;

  struct Session {
    std::size_t pending = 0;
    std::set<std::uint32_t> buckets;  // in which it has a send order
    std::vector<Completer<void>> waiters;
  };
  Mutex sessions_mutex;
  std::map<std::pair<std::uint64_t, std::uint64_t>, Session> sessions GUARDED_BY(sessions_mutex);

  std::uint32_t bucket_of(std::string_view conversation) const {
    return static_cast<std::uint32_t>(siphash64(SipKey{1, 2}, conversation) % options.buckets);
  }
  static std::pair<std::uint64_t, std::uint64_t> key(const SessionKey& session) { return {session.high, session.low}; }
  void session_sends(const SessionKey& session, std::uint32_t bucket);
  void session_answered(const SessionKey& session, std::size_t sends);
  void answer(std::vector<AppendOutcome> outcomes);
};

}  // namespace dunlin::shared

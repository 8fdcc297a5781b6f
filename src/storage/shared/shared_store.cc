#include "storage/shared/shared_store.h"

#include <iterator>
#include <string>

#include "runtime/spawn.h"
#include "storage/shared/core.h"

namespace dunlin::shared {

SharedStore::SharedStore(SharedOptions options, Engine& engine, SessionDirectory& directory, Bus& bus, const Clock& clock)
    : core_(std::make_shared<Core>(std::move(options), engine, directory, bus, clock)) {}

void SharedStore::end() {
  core_->end();
}

Epoch SharedStore::epoch() const {
  return core_->engine.epoch();
}

Task<Result<bool>> SharedStore::renew_epoch(Epoch ended) {
  return core_->engine.renew_epoch(ended);
}

Durability SharedStore::durability() const {
  return core_->engine.durability();
}

void SharedStore::set_listener(StoreListener* listener) {
  core_->listener.store(listener, std::memory_order_release);
}

// -- the end, and pauses until then

void SharedStore::Core::end() {
  {
    MutexLock lock(end_mutex);
    ended.store(true, std::memory_order_release);
    while (calls > 0) calls_ended.wait(end_mutex);
  }
  end_pauses(MonotonicTime::max());
  std::vector<Completer<void>> waiters;
  {
    MutexLock lock(sessions_mutex);
    for (auto& [key, session] : sessions) {
      std::ranges::move(session.waiters, std::back_inserter(waiters));
      session.waiters.clear();
    }
  }
  for (Completer<void>& one : waiters) one.complete({});
}

Completion<void> SharedStore::Core::pause(Milliseconds time) {
  auto [completer, completion] = make_completion<void>();
  MutexLock lock(end_mutex);
  if (!is_over()) pauses.emplace(clock.monotonic() + time, std::move(completer));
  return std::move(completion);
}

void SharedStore::Core::end_pauses(MonotonicTime now) {
  std::vector<Completer<void>> over;
  {
    MutexLock lock(end_mutex);
    const auto end = pauses.upper_bound(now);
    for (auto at = pauses.begin(); at != end; ++at) over.push_back(std::move(at->second));
    pauses.erase(pauses.begin(), end);
  }
  for (Completer<void>& one : over) one.complete({});
}

// -- sessions

void SharedStore::begin_session(SessionKey session) {
  MutexLock lock(core_->sessions_mutex);
  core_->sessions.try_emplace(Core::key(session));
}

Task<void> SharedStore::end_session(SessionKey session) {
  const std::shared_ptr<Core> core = core_;
  auto [completer, completion] = make_completion<void>();
  {
    MutexLock lock(core->sessions_mutex);
    const auto at = core->sessions.find(Core::key(session));
    if (core->is_over() || at == core->sessions.end() || at->second.pending == 0) {
      completer.complete({});
    } else {
      at->second.waiters.push_back(std::move(completer));
    }
  }
  ignore(co_await std::move(completion));
  std::set<std::uint32_t> buckets;
  {
    MutexLock lock(core->sessions_mutex);
    if (auto gone = core->sessions.extract(Core::key(session)); !gone.empty()) buckets = std::move(gone.mapped().buckets);
  }
  for (const std::uint32_t bucket : buckets) {
    MutexLock lock(core->buckets[bucket].mutex);
    core->buckets[bucket].orders.end(session);
  }
}

void SharedStore::Core::session_sends(const SessionKey& session, std::uint32_t bucket) {
  bool begins = false;
  {
    MutexLock lock(sessions_mutex);
    const auto at = sessions.find(key(session));
    if (at == sessions.end()) return;  // it was not begun: it has no order
    ++at->second.pending;
    begins = at->second.buckets.insert(bucket).second;
  }
  if (!begins) return;
  MutexLock lock(buckets[bucket].mutex);
  buckets[bucket].orders.begin(session);
}

void SharedStore::Core::session_answered(const SessionKey& session) {
  std::vector<Completer<void>> done;
  {
    MutexLock lock(sessions_mutex);
    const auto at = sessions.find(key(session));
    if (at == sessions.end()) return;
    if (at->second.pending > 0) --at->second.pending;
    if (at->second.pending == 0) done.swap(at->second.waiters);
  }
  for (Completer<void>& one : done) one.complete({});
}

// -- appends

void SharedStore::append(std::span<AppendRequest> requests) {
  if (core_->is_over()) return;
  std::set<std::uint32_t> begun;
  std::set<std::uint32_t> open;
  for (AppendRequest& request : requests) {
    const std::uint32_t number = core_->bucket_of(request.message->conversation());
    core_->session_sends(request.session, number);
    const std::size_t bytes = request.message->footprint();
    Waiting waiting{std::move(request), false};
    if (core_->held_bytes.fetch_add(bytes) + bytes > core_->options.max_held_bytes) {
      waiting.overloaded = true;
      const Message& message = *waiting.request.message;
      core_->held_bytes.fetch_sub(bytes);
      waiting.request.message = Message::create({message.conversation(), message.sender(), message.client_msg_id(), {}, {}});
      core_->held_bytes.fetch_add(waiting.request.message->footprint());
    }
    Bucket& bucket = core_->buckets[number];
    MutexLock lock(bucket.mutex);
    bucket.waiting.push_back(std::move(waiting));
    if (!std::exchange(bucket.appending, true)) begun.insert(number);
    if (bucket.open) open.insert(number);
  }
  for (const std::uint32_t bucket : begun) spawn(append_loop(core_, bucket));
  for (const std::uint32_t bucket : open) core_->refuse_waiting(core_->buckets[bucket]);
}

StoreHealth SharedStore::health() const {
  StoreHealth health;
  const int failing = core_->failing.load();
  health.writable = failing == 0;
  if (!health.writable) {
    health.reason =
        "the engine takes no appends for " + std::to_string(failing) + " of " + std::to_string(core_->options.buckets) + " buckets";
  }
  return health;
}

void SharedStore::tick() {
  constexpr Milliseconds kForget(10'000);  // that appends were refused, when none came since
  if (core_->is_over()) return;
  const MonotonicTime now = core_->clock.monotonic();
  core_->end_pauses(now);
  for (std::uint32_t number = 0; number < core_->options.buckets; ++number) {
    Bucket& bucket = core_->buckets[number];
    std::vector<Due> noted;
    bool forget = false;
    {
      MutexLock lock(bucket.mutex);
      forget = bucket.failing && !bucket.appending && now - bucket.failed_at >= kForget;
      if (!bucket.noted.empty() && now - bucket.noted_since >= core_->options.clear_after) noted.swap(bucket.noted);
    }
    if (forget) core_->set_failing(number, nullptr);
    if (noted.empty()) continue;
    // What fails stays due, and is noted once more: to no effect.
    spawn([](std::shared_ptr<Core> core, std::uint32_t of, std::vector<Due> due) -> Task<void> {
      ignore(co_await core->engine.clear_due(of, std::move(due)));
    }(core_, number, std::move(noted)));
  }
}

// -- reads

Task<Result<ConversationHead>> SharedStore::head(ConversationId conversation) {
  return core_->engine.head(std::move(conversation));
}

Task<Result<std::vector<RangePage>>> SharedStore::ranges(std::vector<RangeQuery> queries) {
  return core_->engine.ranges(std::move(queries));
}

Task<Result<std::vector<TimelineEnd>>> SharedStore::ends(std::vector<ConversationId> conversations, std::size_t max_bytes) {
  return core_->engine.ends(std::move(conversations), max_bytes);
}

Task<Status> SharedStore::recall(ConversationId conversation, MessageSeq seq) {
  return core_->engine.recall(std::move(conversation), seq);
}

// The reader's stamp and this are of the same row.
Task<Result<InboxEnd>> SharedStore::newest(UserId user) {
  Engine& engine = core_->engine;
  CO_TRY_ASSIGN(const InboxPosition newest, co_await engine.newest(std::move(user)));
  co_return InboxEnd{newest, newest};
}

Task<Result<NewsPage>> SharedStore::news_since(NewsQuery query) {
  return core_->engine.news_since(std::move(query));
}

Task<Result<InboxPage>> SharedStore::newest_entries(UserId user, InboxPosition from, std::size_t limit) {
  return core_->engine.newest_entries(std::move(user), from, limit);
}

Task<Result<std::vector<MessageSeq>>> SharedStore::seqs_at(std::vector<SeqQuery> queries) {
  return core_->engine.seqs_at(std::move(queries));
}

Task<Result<ConversationsPage>> SharedStore::conversations(UserId user, ConversationId after, std::size_t limit) {
  return core_->engine.conversations(std::move(user), std::move(after), limit);
}

InboxPosition SharedStore::trimmed_through(std::string_view user) const {
  return core_->engine.trimmed_through(user);
}

Task<Result<bool>> SharedStore::never_named(UserId user, InboxPosition position, std::uint64_t) {
  Engine& engine = core_->engine;
  CO_TRY_ASSIGN(const InboxPosition highest, co_await engine.highest_given(std::move(user)));
  co_return position > highest;
}

}  // namespace dunlin::shared

// The part of MemoryMessageStore that reads, its feed, and what only tests ask of it.
#include <algorithm>
#include <utility>

#include "storage/memory/memory_message_store.h"

namespace dunlin {

Task<Status> MemoryMessageStore::begin_read() {
  auto [completer, completion] = make_completion<bool>();
  bool fails = false;
  {
    MutexLock lock(mutex_);
    fails = read_failures_ > 0 && std::uniform_real_distribution<>(0, 1)(random_) < read_failures_;
    if (options_.read_delay.count() > 0) {
      reads_.push_back({random_due(options_.read_delay), std::move(completer)});
    } else {
      completer.complete(true);
    }
  }
  CO_TRY(co_await std::move(completion));
  if (fails) co_return Error(ErrorCode::StoreUnavailable, "a fault for tests");
  co_return Status();
}

template <class F>
auto MemoryMessageStore::read(F&& answer) {
  MutexLock lock(mutex_);
  const std::uint64_t before = timelines_.rows_read();
  auto out = answer(timelines_);
  if (options_.metrics != nullptr) options_.metrics->store_rows_read_total.add(timelines_.rows_read() - before);
  return out;
}

Task<Result<ConversationHead>> MemoryMessageStore::head(ConversationId conversation) {
  CO_TRY(co_await begin_read());
  co_return read([&](MemoryTimelines& timelines) { return timelines.head(conversation); });
}

std::optional<RangePage> MemoryMessageStore::range_in_memory(const RangeQuery& query) {
  if (options_.read_delay.count() > 0) return std::nullopt;
  return read([&](MemoryTimelines& timelines) { return timelines.range(query); });
}

Task<Result<std::vector<TimelineEnd>>> MemoryMessageStore::ends(std::vector<ConversationId> conversations, std::size_t max_bytes) {
  CO_TRY(co_await begin_read());
  co_return read([&](MemoryTimelines& timelines) {
    std::vector<TimelineEnd> out;
    for (std::size_t bytes = 0; out.size() < conversations.size() && (out.empty() || bytes < max_bytes);) {
      const ConversationId& conversation = conversations[out.size()];
      const ConversationHead head = timelines.head(conversation);
      const RangePage page = timelines.range({conversation, head.last_seq, head.last_seq, 1, 1, false});
      out.push_back({head, page.messages.empty() ? MessagePtr() : page.messages.front()});
      if (out.back().last) bytes += out.back().last->footprint();
    }
    return out;
  });
}

Task<Result<std::vector<RangePage>>> MemoryMessageStore::ranges(std::vector<RangeQuery> queries) {
  CO_TRY(co_await begin_read());
  co_return read([&](MemoryTimelines& timelines) {
    std::vector<RangePage> out;
    for (const RangeQuery& query : queries) out.push_back(timelines.range(query));
    return out;
  });
}

Task<Result<std::vector<MessageSeq>>> MemoryMessageStore::seqs_at(std::vector<SeqQuery> queries) {
  CO_TRY(co_await begin_read());
  co_return read([&](MemoryTimelines& timelines) {
    std::vector<MessageSeq> out;
    for (const SeqQuery& query : queries) out.push_back(timelines.seq_at(query.conversation, query.position));
    return out;
  });
}

// A record may be answered before it is settled, and who was answered expects it in his list.
Task<Result<InboxEnd>> MemoryMessageStore::newest(UserId user) {
  const InboxPosition listed = read_raises_.listed();
  const InboxPosition settled(settled_.load(std::memory_order_acquire));
  const InboxPage page = read([&](MemoryTimelines& timelines) { return timelines.newest_entries(user, InboxPosition(UINT64_MAX), 1); });
  co_return InboxEnd{page.entries.empty() ? settled : std::max(settled, page.entries.front().last_position), listed};
}

Task<Result<NewsPage>> MemoryMessageStore::news_since(NewsQuery query) {
  CO_TRY(co_await begin_read());
  co_return read([&](MemoryTimelines& timelines) { return timelines.news_since(query); });
}

Task<Result<InboxPage>> MemoryMessageStore::newest_entries(UserId user, InboxPosition from, std::size_t limit) {
  CO_TRY(co_await begin_read());
  co_return read([&](MemoryTimelines& timelines) { return timelines.newest_entries(user, from, limit); });
}

std::optional<InboxPosition> MemoryMessageStore::quiet_through(std::string_view user, InboxPosition after) {
  QuietLook look;
  look.settled = InboxPosition(settled_.load(std::memory_order_acquire));
  if (listener_ != nullptr) look.told = listener_->told(user);
  const bool active = read([&](MemoryTimelines& timelines) { return timelines.active_since(user, after); });
  if (active || options_.read_delay.count() == 0) look.active = active;
  look.began_at = to_inbox(run_.began_at);
  look.trimmed = trimmed_through(user);
  return quiet_in_one_order(after, look);
}

Task<Result<bool>> MemoryMessageStore::never_named(UserId, InboxPosition position, std::uint64_t run) {
  const bool of_earlier_run = run != 0 && run != run_.id;
  co_return position > InboxPosition((of_earlier_run ? run_.began_at : last_position()).value());
}

Task<Result<ConversationsPage>> MemoryMessageStore::conversations(UserId user, ConversationId after, std::size_t limit) {
  CO_TRY(co_await begin_read());
  co_return read([&](MemoryTimelines& timelines) { return timelines.conversations(user, after, limit); });
}

Task<Status> MemoryMessageStore::recall(ConversationId conversation, MessageSeq seq) {
  CO_TRY(co_await begin_read());
  const bool found = read([&](MemoryTimelines& timelines) { return timelines.recall(conversation, seq); });
  if (!found) co_return Error(ErrorCode::NotFound, "the conversation has no such message");
  co_return Status();
}

Task<Result<FeedPage>> MemoryMessageStore::feed(LogPosition after, std::size_t max_messages) {
  CO_TRY(co_await begin_read());
  co_return read([&](MemoryTimelines& timelines) { return timelines.feed(after, max_messages); });
}

Task<Result<Follower>> MemoryMessageStore::register_follower(std::string name, LogPosition from) {
  const auto good = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; };
  if (name.empty() || name.size() > kMaxFollowerName || !std::ranges::all_of(name, good)) {
    co_return Error(ErrorCode::BadRequest, "a follower's name is 1 to 32 of a-z, 0-9 and '-'");
  }
  MutexLock lock(mutex_);
  if (from > feed_end()) co_return Error(ErrorCode::BadRequest, "a follower begins within the log, as far as it is settled");
  if (!followers_.contains(name) && followers_.size() >= kMaxFollowers) {
    co_return Error(ErrorCode::Overloaded, "there are as many followers as there may be");
  }
  co_return marked(followers_.try_emplace(name, Follower{name, from, false}).first->second);
}

Task<Status> MemoryMessageStore::advance_follower(std::string name, LogPosition position) {
  MutexLock lock(mutex_);
  const auto found = followers_.find(name);
  if (found == followers_.end()) co_return Error(ErrorCode::NotFound, "follower " + name);
  if (marked(found->second).reset) co_return Error(ErrorCode::WrongState, "follower " + name + " has to begin anew");
  if (position < found->second.position || position > feed_end()) {
    co_return Error(ErrorCode::BadRequest, "a follower moves forwards, as far as the log is settled");
  }
  found->second.position = position;
  co_return Status();
}

Task<Status> MemoryMessageStore::unregister_follower(std::string name) {
  MutexLock lock(mutex_);
  if (followers_.erase(name) == 0) co_return Error(ErrorCode::NotFound, "follower " + name);
  co_return Status();
}

std::vector<Follower> MemoryMessageStore::followers() const {
  std::vector<Follower> out;
  MutexLock lock(mutex_);
  for (const auto& [name, follower] : followers_) out.push_back(marked(follower));
  return out;
}

// What was trimmed before it passed is gone for a follower: nothing is kept beside the timelines here.
Follower MemoryMessageStore::marked(Follower follower) const {
  follower.reset = follower.reset || follower.position < timelines_.trimmed_through();
  return follower;
}

struct MemoryMessageStore::Copy {
  Epoch epoch;
  MemoryTimelines timelines;
  std::unordered_map<std::string, DedupEntry> dedup;
  std::deque<std::pair<std::uint64_t, std::string>> dedup_order;
  std::map<std::string, Follower> followers;
};

std::shared_ptr<const MemoryMessageStore::Copy> MemoryMessageStore::copy() const {
  MutexLock lock(mutex_);
  return std::make_shared<const Copy>(Copy{epoch(), timelines_, dedup_, dedup_order_, followers_});
}

void MemoryMessageStore::put_back(const Copy& copy) {
  std::vector<std::pair<SessionKey, Completer<bool>>> ending;
  std::vector<WaitingRead> reads;
  {
    MutexLock commits(commit_mutex_);
    MutexLock lock(mutex_);
    waiting_.clear();
    waiting_bytes_ = 0;
    ending.swap(ending_);
    reads.swap(reads_);
    std::destroy_at(&orders_);
    std::construct_at(&orders_);
    timelines_ = copy.timelines;
    dedup_ = copy.dedup;
    dedup_order_ = copy.dedup_order;
    followers_ = copy.followers;
    epoch_.store(copy.epoch.value, std::memory_order_release);
    settled_.store(timelines_.last_position().value(), std::memory_order_release);
    run_ = {.began_at = timelines_.last_position()};
  }
  // Who waited is told outside of the locks, as these go.
}

LogPosition MemoryMessageStore::last_position() const {
  MutexLock lock(mutex_);
  return timelines_.last_position();
}

LogPosition MemoryMessageStore::trimmed_position() const {
  MutexLock lock(mutex_);
  return timelines_.trimmed_through();
}

InboxPosition MemoryMessageStore::trimmed_through(std::string_view) const {
  return InboxPosition(trimmed_position().value());
}

StoreHealth MemoryMessageStore::health() const {
  StoreHealth health;
  health.writable = !refusing_.load();
  if (!health.writable) health.reason = "appends are refused (a fault for tests)";
  return health;
}

// -- for tests

void MemoryMessageStore::refuse_appends(bool refuse) {
  refusing_.store(refuse);
}

void MemoryMessageStore::set_append_failures(double share) {
  MutexLock lock(mutex_);
  append_failures_ = share;
}

void MemoryMessageStore::set_read_failures(double share) {
  MutexLock lock(mutex_);
  read_failures_ = share;
}

void MemoryMessageStore::trim_through(LogPosition position) {
  MutexLock lock(mutex_);
  timelines_.trim_through(position);
}

std::uint64_t MemoryMessageStore::rows_read() const {
  MutexLock lock(mutex_);
  return timelines_.rows_read();
}

}  // namespace dunlin

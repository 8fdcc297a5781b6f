#include "storage/memory/memory_message_store.h"

#include <algorithm>
#include <set>
#include <utility>

namespace dunlin {
namespace {

AppendOutcome refusal(const AppendRequest& request, ErrorCode code) {
  AppendOutcome out;
  out.reply = request.reply;
  out.refused = code;
  out.message = request.message;
  return out;
}

}  // namespace

MemoryMessageStore::MemoryMessageStore(MemoryStoreOptions options)
    : options_(options),
      dedup_key_(SipKey::random()),
      epoch_{SipKey::random().low | 1},
      random_(options.seed),
      append_failures_(options.append_failures),
      read_failures_(options.read_failures) {
  CHECK(options_.clock != nullptr);
}

MemoryMessageStore::~MemoryMessageStore() = default;

Task<Result<bool>> MemoryMessageStore::renew_epoch(Epoch ended) {
  MutexLock lock(mutex_);
  if (epoch() != ended) co_return false;
  epoch_.store(SipKey::random().low | 1, std::memory_order_release);
  for (auto& [name, follower] : followers_) follower.reset = true;
  co_return true;
}

// -- sessions and appends

void MemoryMessageStore::begin_session(SessionKey session) {
  MutexLock lock(commit_mutex_);
  orders_.begin(session);
}

Task<void> MemoryMessageStore::end_session(SessionKey session) {
  auto [completer, completion] = make_completion<bool>();
  {
    MutexLock lock(commit_mutex_);
    if (std::ranges::any_of(waiting_, [&](const Waiting& waiting) { return waiting.request.session == session; })) {
      ending_.emplace_back(session, std::move(completer));
    } else {
      orders_.end(session);
      completer.complete(true);
    }
  }
  ignore(co_await std::move(completion));
}

void MemoryMessageStore::append(std::span<AppendRequest> requests) {
  MutexLock lock(commit_mutex_);
  std::vector<Waiting> batch;
  for (AppendRequest& request : requests) {
    if (options_.append_delay.count() > 0) {
      wait(std::move(request));
    } else {
      batch.push_back({std::move(request), {}, false});
    }
  }
  if (!batch.empty()) commit(std::move(batch));
}

void MemoryMessageStore::wait(AppendRequest request) {
  Waiting waiting{std::move(request), {}, false};
  {
    MutexLock lock(mutex_);
    waiting.due = random_due(options_.append_delay);
  }
  const Message& message = *waiting.request.message;
  if (waiting_bytes_ + message.footprint() > options_.max_waiting_bytes) {
    waiting.overloaded = true;
    waiting.request.message = Message::create({message.conversation(), message.sender(), message.client_msg_id(), {}, {}});
  }
  waiting_bytes_ += waiting.request.message->footprint();
  waiting_.push_back(std::move(waiting));
}

void MemoryMessageStore::commit(std::vector<Waiting> batch) {
  std::vector<AppendOutcome> outcomes;
  outcomes.reserve(batch.size());
  for (Waiting& waiting : batch) outcomes.push_back(commit_one(waiting));
  LogPosition last;
  {
    MutexLock lock(mutex_);
    last = timelines_.last_position();
  }
  if (listener_ != nullptr) {
    const std::span<const InboxNews> news = news_.take(outcomes);
    listener_->on_commit(outcomes, news);
    news_.clear();
  }
  settled_.store(last.value(), std::memory_order_release);
}

AppendOutcome MemoryMessageStore::commit_one(Waiting& waiting) {
  AppendRequest& request = waiting.request;
  const Message& message = *request.message;
  if (!orders_.admit(request.session, message.conversation(), message.client_msg_id(), request.abandon)) {
    return refusal(request, ErrorCode::RetryInOrder);
  }
  if (waiting.overloaded || refusing_.load() || append_fails()) {
    orders_.block(request.session, message.conversation(), message.client_msg_id());
    return refusal(request, waiting.overloaded ? ErrorCode::Overloaded : ErrorCode::StoreUnavailable);
  }
  // Memory answers every look-up at once, so numbered ids save nothing here; the orders count them all the same, as every store's do.
  static_cast<void>(orders_.take_number(request.session, request.id));
  return store_one(request);
}

AppendOutcome MemoryMessageStore::store_one(AppendRequest& request) {
  MutexLock lock(mutex_);
  const auto now_ms = static_cast<std::uint64_t>(to_ms(options_.clock->wall()));
  forget_old_ids(now_ms);
  std::string key = dedup_key(*request.message);
  const std::uint64_t body = dedup_digest(dedup_key_, *request.message);
  AppendOutcome out;
  out.reply = request.reply;
  out.message = request.message;
  out.durability = options_.durability;
  if (const auto at = dedup_.find(key); at != dedup_.end()) {
    if (at->second.digest != body) return refusal(request, ErrorCode::ClientMsgIdConflict);
    out.duplicate = true;
    out.seq = at->second.seq;
    out.time_ms = at->second.time_ms;
    return out;
  }
  timelines_.add(request.message, now_ms);
  out.seq = request.message->seq();
  out.time_ms = now_ms;
  dedup_order_.emplace_back(now_ms, key);
  dedup_.emplace(std::move(key), DedupEntry{out.seq, body, now_ms});
  keep_within_bounds();
  return out;
}

bool MemoryMessageStore::append_fails() {
  MutexLock lock(mutex_);
  return append_failures_ > 0 && std::uniform_real_distribution<>(0, 1)(random_) < append_failures_;
}

void MemoryMessageStore::forget_old_ids(std::uint64_t now_ms) {
  const auto keep = static_cast<std::uint64_t>(Milliseconds(options_.dedup_for).count());
  while (!dedup_order_.empty() && dedup_order_.front().first + keep < now_ms) {
    dedup_.erase(dedup_order_.front().second);
    dedup_order_.pop_front();
  }
}

void MemoryMessageStore::keep_within_bounds() {
  if (timelines_.bytes() <= options_.max_bytes) return;
  const std::uint64_t oldest = timelines_.trimmed_through().value();
  const std::uint64_t kept = timelines_.last_position().value() - oldest;
  timelines_.trim_through(LogPosition(oldest + kept / 10 + 1));
}

MonotonicTime MemoryMessageStore::random_due(Milliseconds at_most) {
  const auto wait = std::uniform_int_distribution<std::int64_t>(0, at_most.count())(random_);
  return options_.clock->monotonic() + Milliseconds(wait);
}

// -- completing what waits

// What is due, unless something older of the same conversation still waits.
std::vector<MemoryMessageStore::Waiting> MemoryMessageStore::take_due(MonotonicTime now) {
  std::vector<Waiting> due;
  std::deque<Waiting> rest;
  std::set<std::string, std::less<>> held;
  for (Waiting& waiting : waiting_) {
    const std::string_view conversation = waiting.request.message->conversation();
    if (waiting.due <= now && !held.contains(conversation)) {
      waiting_bytes_ -= waiting.request.message->footprint();
      due.push_back(std::move(waiting));
    } else {
      held.emplace(conversation);
      rest.push_back(std::move(waiting));
    }
  }
  waiting_ = std::move(rest);
  return due;
}

// Ends the orders of sessions that wait for their end and have nothing waiting any more.
std::vector<Completer<bool>> MemoryMessageStore::take_ended() {
  std::vector<Completer<bool>> ended;
  for (std::size_t i = 0; i < ending_.size();) {
    bool waits = false;
    for (const Waiting& waiting : waiting_) waits = waits || waiting.request.session == ending_[i].first;
    if (waits) {
      ++i;
      continue;
    }
    orders_.end(ending_[i].first);
    ended.push_back(std::move(ending_[i].second));
    ending_.erase(ending_.begin() + static_cast<std::ptrdiff_t>(i));
  }
  return ended;
}

bool MemoryMessageStore::pump_appends() {
  std::vector<Completer<bool>> ended;
  bool worked = false;
  {
    MutexLock lock(commit_mutex_);
    std::vector<Waiting> due = take_due(options_.clock->monotonic());
    worked = !due.empty();
    if (worked) commit(std::move(due));
    ended = take_ended();
  }
  for (Completer<bool>& completer : ended) completer.complete(true);
  return worked || !ended.empty();
}

bool MemoryMessageStore::pump_reads() {
  std::vector<WaitingRead> due;
  {
    MutexLock lock(mutex_);
    const MonotonicTime now = options_.clock->monotonic();
    std::vector<WaitingRead> later;
    for (WaitingRead& read : reads_) (read.due <= now ? due : later).push_back(std::move(read));
    reads_ = std::move(later);
  }
  for (WaitingRead& read : due) read.completer.complete(true);
  return !due.empty();
}

bool MemoryMessageStore::pump() {
  const bool appended = pump_appends();
  return pump_reads() || appended;
}

std::optional<MonotonicTime> MemoryMessageStore::next_due() const {
  std::optional<MonotonicTime> next;
  const auto take = [&](MonotonicTime due) { next = next ? std::min(*next, due) : due; };
  {
    MutexLock lock(commit_mutex_);
    for (const Waiting& waiting : waiting_) take(waiting.due);
  }
  MutexLock lock(mutex_);
  for (const WaitingRead& read : reads_) take(read.due);
  return next;
}

}  // namespace dunlin

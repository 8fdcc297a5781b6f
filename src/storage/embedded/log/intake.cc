#include "storage/embedded/log/intake.h"

#include <algorithm>
#include <cstring>

#include "base/log.h"

namespace dunlin::embedded {
namespace {

constexpr std::size_t kLookups = 1024;  // at once: each may hold a block of rows

// The message without its body: all that a refusal needs, so that refusals in the queue cost little.
MessagePtr without_body(const Message& message) {
  MessageDraft draft;
  draft.conversation = message.conversation();
  draft.sender = message.sender();
  draft.client_msg_id = message.client_msg_id();
  return Message::create(draft);
}

}  // namespace

DedupEntry Intake::dedup_of(const Message& m) const {
  // Lengths first, so that no two triples give the same bytes; the strings themselves stand one behind the other in the message.
  char stack[512];
  const std::size_t names = m.conversation().size() + m.sender().size() + m.client_msg_id().size();
  const std::uint32_t lengths =
      static_cast<std::uint32_t>(m.conversation().size() << 16 | m.sender().size() << 8 | m.client_msg_id().size());
  std::string heap;
  char* bytes = stack;
  if (sizeof lengths + names > sizeof stack) {
    heap.resize(sizeof lengths + names);
    bytes = heap.data();
  }
  std::memcpy(bytes, &lengths, sizeof lengths);
  std::memcpy(bytes + sizeof lengths, m.conversation().data(), names);
  const SipHash128 key = options_.hash(options_.dedup_secret, {bytes, sizeof lengths + names});
  DedupEntry entry;
  entry.key = {key.high, key.low};
  const std::uint64_t split = m.content_type().size();
  const SipKey body_key{options_.dedup_secret.low ^ ~split, options_.dedup_secret.high};
  entry.body_digest = siphash64(body_key, {m.content_type().data(), m.content_type().size() + m.body().size()});
  return entry;
}

std::uint64_t Intake::sender_hash(const Message& message) const {
  return siphash64(options_.dedup_secret, message.sender()) | 1;
}

void Intake::end_session(SessionKey session, Completer<void> ended) {
  std::vector<Pending> one(1);
  one[0].kind = Pending::Kind::EndSession;
  one[0].request.session = session;
  one[0].ended = std::move(ended);
  queue_.push(one);
}

void Intake::append(std::span<AppendRequest> requests) {
  std::vector<Pending> ready;
  std::vector<Conversation*> to_load;
  ready.reserve(requests.size());
  for (AppendRequest& request : requests) {
    Pending pending;
    prepare(pending, request);
    route(pending, ready, to_load);
  }
  if (!ready.empty()) queue_.push(ready);
  if (!to_load.empty()) load_soon(to_load);
}

void Intake::refuse_late(std::span<AppendRequest> requests) {
  std::vector<Pending> late(requests.size());
  for (std::size_t i = 0; i < requests.size(); ++i) {
    late[i].kind = Pending::Kind::Late;
    late[i].request = std::move(requests[i]);
    late[i].request.message = without_body(*late[i].request.message);
  }
  queue_.push(late);
}

void Intake::prepare(Pending& pending, AppendRequest& request) {
  pending.request = std::move(request);
  const Message& message = *pending.request.message;
  pending.dedup = dedup_of(message);
  pending.session = sessions_.find_pinned(pending.request.session);
  note_sender(pending, message);
  pending.provably_new = is_provably_new(pending);
  pending.bytes = static_cast<std::uint32_t>(message.footprint() + sizeof(Pending));
  queued_.fetch_add(1, std::memory_order_relaxed);
  if (queued_bytes_.fetch_add(pending.bytes, std::memory_order_relaxed) + pending.bytes > options_.queue_bytes) {
    pending.refused = ErrorCode::Overloaded;
    pending.request.message = without_body(message);
  }
}

// Before the committer looks for the other session, and before this session's own first id is judged: see ForeignIds.
void Intake::note_sender(const Pending& pending, const Message& message) {
  const AppendRequest& request = pending.request;
  if (request.id && request.id->session != request.session) foreign_ids_.note(request.id->session, sender_hash(message));
  SendingSession* session = pending.session;
  if (!session || session->sender.load(std::memory_order_relaxed) != 0) return;
  const std::uint64_t sender = sender_hash(message);
  if (foreign_ids_.noted(request.session, sender)) session->foreign_use.store(true, std::memory_order_release);
  session->sender.store(sender, std::memory_order_release);
}

bool Intake::is_provably_new(const Pending& pending) const {
  const auto& id = pending.request.id;
  if (!id || !pending.session || id->session != pending.request.session) return false;
  if (id->number <= pending.session->highest_number.load(std::memory_order_relaxed)) return false;
  pending.session->highest_number.store(id->number, std::memory_order_relaxed);
  return !pending.session->foreign_use.load(std::memory_order_acquire);
}

void Intake::route(Pending& pending, std::vector<Pending>& ready, std::vector<Conversation*>& to_load) {
  const std::string_view name = pending.request.message->conversation();
  if (!pending.provably_new && !pending.refused) {
    pending.pin = window_.pin();
    pending.wants_history = history_.position() != LogPosition();
    if (!pending.wants_history) pending.history = HistoryAnswer::Absent;
  }
  const std::size_t hash = Conversations::hash_of(name);
  Conversations::Shard& shard = conversations_.shard_of(hash);
  ConversationsLock lock(shard);
  Conversation& conversation = conversations_.find_or_add(shard, hash, name);
  conversation.pins.fetch_add(1, std::memory_order_relaxed);
  pending.conversation = &conversation;
  if (!conversation.loaded && !conversation.waiting && history_.position() == LogPosition()) {
    conversation.readable_at = trimmed_through();
    conversation.loaded = true;  // nothing but the window has records, and it has none of this conversation
  }
  if (conversation.loaded && !conversation.waiting && !pending.wants_history) {
    ready.push_back(std::move(pending));
    return;
  }
  // What this call has taken before must not be overtaken by a load of this conversation that is under way.
  if (!ready.empty()) queue_.push(ready);
  if (!conversation.waiting) {
    conversation.waiting = std::make_unique<std::deque<Pending>>();
    to_load.push_back(&conversation);
  }
  conversation.waiting->push_back(std::move(pending));
}

void Intake::load_soon(std::span<Conversation* const> conversations) {
  loads_.fetch_add(conversations.size() + 1, std::memory_order_relaxed);
  bool start = false;
  {
    MutexLock lock(load_mutex_);
    to_load_.insert(to_load_.end(), conversations.begin(), conversations.end());
    start = loaders_ < kLoaders;
    if (start) ++loaders_;
  }
  if (!start) {
    loads_.fetch_sub(1, std::memory_order_release);
  } else if (!pool_.submit([this] { run_loader(); })) {
    loader_refused();
  }
}

// The pool is full. What another loader does not come to is refused.
void Intake::loader_refused() {
  std::deque<Conversation*> refused;
  {
    MutexLock lock(load_mutex_);
    if (--loaders_ == 0) refused.swap(to_load_);
  }
  for (Conversation* conversation : refused) refuse_waiting(*conversation);
  loads_.fetch_sub(refused.size() + 1, std::memory_order_release);
}

// Batch after batch, each at the end of the pool's queue, so that reads come in between.
void Intake::run_loader() {
  for (auto batch = next_to_load(); !batch.empty(); batch = next_to_load()) {
    load(batch);
    const std::size_t finished = std::erase_if(batch, [&](Conversation* conversation) { return finish_waiting(*conversation); });
    loads_.fetch_sub(finished, std::memory_order_release);
    if (!load_goes_on(batch)) break;
    if (pool_.submit([this] { run_loader(); })) return;
  }
  loads_.fetch_sub(1, std::memory_order_release);  // the last: nobody waits for more than this
}

// The next batch; when there is none the loader has ended.
std::vector<Conversation*> Intake::next_to_load() {
  MutexLock lock(load_mutex_);
  const auto size = static_cast<std::ptrdiff_t>(std::min(to_load_.size(), kLoadBatch));
  std::vector<Conversation*> batch(to_load_.begin(), to_load_.begin() + size);
  to_load_.erase(to_load_.begin(), to_load_.begin() + size);
  if (batch.empty()) --loaders_;
  return batch;
}

// Puts back what got more sends meanwhile; false when nothing is left and the loader has ended.
bool Intake::load_goes_on(std::span<Conversation* const> unfinished) {
  MutexLock lock(load_mutex_);
  to_load_.insert(to_load_.end(), unfinished.begin(), unfinished.end());
  if (to_load_.empty()) --loaders_;
  return !to_load_.empty();
}

void Intake::load(std::span<Conversation* const> conversations) {
  std::vector<Pending> items;
  HeadsRead heads;
  for (Conversation* conversation : conversations) {
    const std::size_t first = items.size();
    take_waiting(*conversation, items);
    if (load_head(*conversation, heads)) continue;
    for (std::size_t i = first; i < items.size(); ++i) {
      if (!items[i].refused) items[i].refused = ErrorCode::StoreUnavailable;
    }
  }
  heads.history.reset();
  look_up(items);
  queue_.push(items);
}

bool Intake::load_head(Conversation& conversation, HeadsRead& heads) {
  Conversations::Shard& shard = shard_of(conversation);
  {
    ConversationsLock lock(shard);
    if (conversation.loaded) return true;
  }
  if (!heads.history) heads.history = history_.begin_read();
  auto head = heads.history->head(ConversationId(std::string_view(conversation.id)));
  if (!head.ok()) {
    log_error("store", "reading a conversation's head failed", {{"error", head.error().to_string()}});
    return false;
  }
  ConversationsLock lock(shard);
  if (*head) conversation.head = conversation.given = **head;
  conversation.readable_at = heads.history->trimmed_through();
  conversation.loaded = true;
  return true;
}

void Intake::look_up(std::vector<Pending>& items) {
  std::vector<DedupLookup> lookups;
  std::vector<Pending*> asking;
  const auto ask = [&] {
    history_.dedup(lookups);
    for (std::size_t i = 0; i < lookups.size(); ++i) {
      Pending& pending = *asking[i];
      if (lookups[i].failed) {
        log_error("store", "a dedup look-up failed", {{"error", lookups[i].failed->to_string()}});
        pending.refused = ErrorCode::StoreUnavailable;
        continue;
      }
      pending.found = lookups[i].found;
      pending.history = pending.found ? HistoryAnswer::Present : HistoryAnswer::Absent;
    }
    lookups.clear();
    asking.clear();
  };
  for (Pending& item : items) {
    if (!item.wants_history || item.refused) continue;
    lookups.push_back({item.dedup.key, std::nullopt, std::nullopt});
    asking.push_back(&item);
    if (lookups.size() == kLookups) ask();
  }
  if (!lookups.empty()) ask();
}

void Intake::refuse_waiting(Conversation& conversation) {
  std::vector<Pending> items;
  do {
    take_waiting(conversation, items);
    for (auto& item : items) {
      if (!item.refused) item.refused = ErrorCode::Overloaded;
    }
    queue_.push(items);
  } while (!finish_waiting(conversation));
}

void Intake::take_waiting(Conversation& conversation, std::vector<Pending>& out) {
  ConversationsLock lock(shard_of(conversation));
  for (auto& item : *conversation.waiting) out.push_back(std::move(item));
  conversation.waiting->clear();
}

// True when nothing came meanwhile: later sends go straight to the committer again. The conversation may be gone after that.
bool Intake::finish_waiting(Conversation& conversation) {
  ConversationsLock lock(shard_of(conversation));
  if (!conversation.waiting->empty()) return false;
  conversation.waiting.reset();
  return true;
}

}  // namespace dunlin::embedded

#include "storage/embedded/log/intake.h"

#include <cstring>

#include "base/log.h"

namespace dunlin::embedded {
namespace {

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

void Intake::begin_session(SessionKey session) {
  lanes_.add(session);
  std::vector<Pending> one(1);
  one[0].kind = Pending::Kind::BeginSession;
  one[0].request.session = session;
  queue_.push(one);
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
  for (Conversation* conversation : to_load) {
    loads_.fetch_add(1, std::memory_order_relaxed);
    const bool queued = pool_.submit([this, conversation] {
      load(*conversation);
      loads_.fetch_sub(1, std::memory_order_release);
    });
    if (queued) continue;
    refuse_waiting(*conversation);
    loads_.fetch_sub(1, std::memory_order_release);
  }
}

void Intake::prepare(Pending& pending, AppendRequest& request) {
  pending.request = std::move(request);
  const Message& message = *pending.request.message;
  pending.dedup = dedup_of(message);
  pending.lane = lanes_.find_pinned(pending.request.session);
  pending.provably_new = is_provably_new(pending);
  if (pending.lane && pending.lane->sender.load(std::memory_order_relaxed) == 0) {
    pending.lane->sender.store(sender_hash(message), std::memory_order_release);
  }
  pending.bytes = static_cast<std::uint32_t>(message.footprint() + sizeof(Pending));
  queued_.fetch_add(1, std::memory_order_relaxed);
  if (queued_bytes_.fetch_add(pending.bytes, std::memory_order_relaxed) + pending.bytes > options_.queue_bytes) {
    pending.refused = ErrorCode::Overloaded;
    pending.request.message = without_body(message);
  }
}

bool Intake::is_provably_new(const Pending& pending) const {
  const auto& id = pending.request.id;
  if (!id || !pending.lane || id->session != pending.request.session) return false;
  if (id->number <= pending.lane->highest_number.load(std::memory_order_relaxed)) return false;
  pending.lane->highest_number.store(id->number, std::memory_order_relaxed);
  return !pending.lane->foreign_use.load(std::memory_order_acquire);
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
  MutexLock lock(shard.mutex);
  Conversation& conversation = conversations_.find_or_add(shard, hash, name);
  conversation.pins.fetch_add(1, std::memory_order_relaxed);
  pending.conversation = &conversation;
  if (!conversation.loaded && !conversation.waiting && history_.position() == LogPosition()) {
    conversation.readable_version = trim_version();
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

void Intake::load(Conversation& conversation) {
  std::vector<Pending> items;
  do {
    take_waiting(conversation, items);
    bool loaded = false;
    {
      MutexLock lock(conversations_.shard_of(conversation).mutex);
      loaded = conversation.loaded;
    }
    if (!loaded) {
      const std::uint64_t version = trim_version();
      auto head = history_.head(ConversationId(std::string_view(conversation.id)));
      if (head.ok()) {
        MutexLock lock(conversations_.shard_of(conversation).mutex);
        if (*head) conversation.head = conversation.given = **head;
        conversation.readable_version = version;
        conversation.loaded = loaded = true;
      } else {
        log_error("store", "reading a conversation's head failed", {{"error", head.error().to_string()}});
      }
    }
    for (auto& item : items) {
      if (!loaded && !item.refused) item.refused = ErrorCode::StoreUnavailable;
      if (item.wants_history && !item.refused) look_up(item);
    }
    queue_.push(items);
  } while (!finish_waiting(conversation));
}

void Intake::look_up(Pending& pending) {
  auto found = history_.dedup(pending.dedup.key);
  if (!found.ok()) {
    log_error("store", "a dedup look-up failed", {{"error", found.error().to_string()}});
    pending.refused = ErrorCode::StoreUnavailable;
    return;
  }
  pending.found = *std::move(found);
  pending.history = pending.found ? HistoryAnswer::Present : HistoryAnswer::Absent;
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
  MutexLock lock(conversations_.shard_of(conversation).mutex);
  for (auto& item : *conversation.waiting) out.push_back(std::move(item));
  conversation.waiting->clear();
}

// True when nothing came meanwhile: later sends go straight to the committer again. The conversation may be gone after that.
bool Intake::finish_waiting(Conversation& conversation) {
  MutexLock lock(conversations_.shard_of(conversation).mutex);
  if (!conversation.waiting->empty()) return false;
  conversation.waiting.reset();
  return true;
}

}  // namespace dunlin::embedded

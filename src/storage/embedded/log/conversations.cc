#include "storage/embedded/log/conversations.h"

#include "base/check.h"
#include "storage/embedded/log/pending.h"

namespace dunlin::embedded {

Conversation::Conversation(std::string_view name) : id(name), pair(parse_private(id)) {}
Conversation::~Conversation() = default;

void SeqRun::push(MessageSeq seq, MessagePtr message) {
  if (empty()) {
    items_.clear();
    begin_ = 0;
    first_ = seq;
  }
  CHECK(seq.value() == first_.value() + size());
  if (begin_ > 16 && begin_ > items_.size() / 2) {
    items_.erase(items_.begin(), items_.begin() + static_cast<std::ptrdiff_t>(begin_));
    begin_ = 0;
  }
  items_.push_back(std::move(message));
}

void SeqRun::pop() {
  CHECK(!empty());
  items_[begin_++] = MessagePtr();
  first_ = first_.next();
  if (empty()) {
    std::vector<MessagePtr>().swap(items_);
    begin_ = 0;
  }
}

Conversations::~Conversations() {
  for (auto& shard : shards_) {
    for (std::size_t i = 0; i < shard.table.slot_count(); ++i) delete shard.table.slot(i).conversation;
  }
}

Conversation* Conversations::find(Shard& shard, std::size_t hash, std::string_view id) {
  const Slot* const slot = shard.table.find(hash >> 32, [&](const Slot& there) { return there.conversation->id == id; });
  return slot == nullptr ? nullptr : slot->conversation;
}

Conversation& Conversations::find_or_add(Shard& shard, std::size_t hash, std::string_view id) {
  if (Conversation* found = find(shard, hash, id)) {
    found->used = true;
    return *found;
  }
  if (shard.bytes > shard_bytes_) evict(shard);
  auto* added = new Conversation(id);
  shard.table.add({added, hash >> 32});
  shard.bytes += cost(*added);
  return *added;
}

void Conversations::evict(Shard& shard) {
  // A few steps an insertion: amortised, and bounded while everything is pinned.
  for (int steps = 0; steps < 32 && shard.bytes > shard_bytes_; ++steps) {
    shard.hand = (shard.hand + 1) & (shard.table.slot_count() - 1);
    Slot& slot = shard.table.slot(shard.hand);
    Conversation* const c = slot.conversation;
    if (c == nullptr || !evictable(*c)) continue;
    if (c->used) {
      c->used = false;
      continue;
    }
    shard.bytes -= cost(*c);
    shard.table.erase(slot);
    delete c;
  }
}

}  // namespace dunlin::embedded

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
    for (Conversation* c : shard.slots) delete c;
  }
}

namespace {
// The shard takes the low bits of the hash, the slot the high ones.
std::uint32_t slot_hash(std::size_t hash) {
  return static_cast<std::uint32_t>(hash >> 32);
}
}  // namespace

Conversation* Conversations::find(Shard& shard, std::size_t hash, std::string_view id) {
  if (shard.slots.empty()) return nullptr;
  const std::size_t mask = shard.slots.size() - 1;
  const std::uint32_t h = slot_hash(hash);
  for (std::size_t i = h & mask; shard.slots[i] != nullptr; i = (i + 1) & mask) {
    if (shard.hashes[i] == h && shard.slots[i]->id == id) return shard.slots[i];
  }
  return nullptr;
}

Conversation& Conversations::find_or_add(Shard& shard, std::size_t hash, std::string_view id) {
  if (Conversation* found = find(shard, hash, id)) {
    found->used = true;
    return *found;
  }
  if (shard.bytes > shard_bytes_) evict(shard);
  if ((shard.used + 1) * 2 > shard.slots.size()) {
    std::vector<Conversation*> slots(std::max<std::size_t>(16, shard.slots.size() * 2));
    std::vector<std::uint32_t> hashes(slots.size());
    slots.swap(shard.slots);
    hashes.swap(shard.hashes);
    shard.hand = 0;
    for (std::size_t i = 0; i < slots.size(); ++i) {
      if (slots[i] != nullptr) place(shard, hashes[i], slots[i]);
    }
  }
  auto* added = new Conversation(id);
  place(shard, slot_hash(hash), added);
  ++shard.used;
  shard.bytes += cost(*added);
  return *added;
}

void Conversations::place(Shard& shard, std::uint32_t hash, Conversation* conversation) {
  const std::size_t mask = shard.slots.size() - 1;
  std::size_t i = hash & mask;
  while (shard.slots[i] != nullptr) i = (i + 1) & mask;
  shard.slots[i] = conversation;
  shard.hashes[i] = hash;
}

void Conversations::erase_slot(Shard& shard, std::size_t hole) {
  Conversation* gone = shard.slots[hole];
  shard.bytes -= cost(*gone);
  --shard.used;
  delete gone;
  const std::size_t mask = shard.slots.size() - 1;
  for (std::size_t i = (hole + 1) & mask; shard.slots[i] != nullptr; i = (i + 1) & mask) {
    const std::size_t want = shard.hashes[i] & mask;
    const bool stays = hole < i ? (want > hole && want <= i) : (want > hole || want <= i);
    if (stays) continue;
    shard.slots[hole] = shard.slots[i];
    shard.hashes[hole] = shard.hashes[i];
    hole = i;
  }
  shard.slots[hole] = nullptr;
}

void Conversations::evict(Shard& shard) {
  // A few steps an insertion: amortised, and bounded while everything is pinned.
  for (int steps = 0; steps < 32 && shard.bytes > shard_bytes_; ++steps) {
    shard.hand = (shard.hand + 1) & (shard.slots.size() - 1);
    Conversation* c = shard.slots[shard.hand];
    if (c == nullptr) continue;
    if (!evictable(*c)) continue;
    if (c->used) {
      c->used = false;
      continue;
    }
    erase_slot(shard, shard.hand);
  }
}

}  // namespace dunlin::embedded

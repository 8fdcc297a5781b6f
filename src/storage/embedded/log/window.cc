#include "storage/embedded/log/window.h"

#include <algorithm>

#include "base/check.h"

namespace dunlin::embedded {
namespace {

// What a record costs beside its message: pointers, dedup entry, its share of the tables.
constexpr std::uint64_t kRecordOverhead = 112;

// Position of the run's record `seq`; a lost one counts as the one before it.
LogPosition position_at(const SeqRun& run, MessageSeq seq) {
  for (; seq >= run.first(); seq = seq.prev()) {
    if (run.at(seq)) return run.at(seq)->place().position;
  }
  return {};
}

// The first seq of the run above `position`; last() + 1 when there is none.
MessageSeq first_above(const SeqRun& run, LogPosition position) {
  std::uint64_t low = run.first().value();
  std::uint64_t high = run.last().value() + 1;
  while (low < high) {
    const std::uint64_t middle = low + (high - low) / 2;
    if (position_at(run, MessageSeq(middle)) > position) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return MessageSeq(low);
}

// The part of the run in (after, through], if any.
std::optional<ActivityEntry> entry_of(const Conversation& c, LogPosition after, LogPosition through) REQUIRES(conversations_shard) {
  if (c.run.empty()) return std::nullopt;
  const MessageSeq first = first_above(c.run, after);
  const MessageSeq end = first_above(c.run, through);
  if (first >= end) return std::nullopt;
  return ActivityEntry{ConversationId(std::string_view(c.id)), first, end.prev(), position_at(c.run, first),
                       position_at(c.run, end.prev())};
}

}  // namespace

Window::Window(Conversations& conversations, LogPosition history, std::uint64_t keep_bytes)
    : conversations_(conversations), keep_bytes_(keep_bytes), floor_(history.value()), left_(history.value()) {
  published_.store(history.value(), std::memory_order_relaxed);
  MutexLock lock(mutex_);
  add_part();
}

void Window::add_part() {
  parts_.push_back(std::make_unique<WindowPart>());
  parts_.back()->number = next_part_++;
}

void Window::publish(std::span<Item> items) {
  std::uint64_t bytes = 0;
  {
    MutexLock lock(mutex_);
    WindowPart& part = *parts_.back();
    for (Item& item : items) {
      dedup_.move(item.dedup_slot, {part.number, static_cast<std::uint32_t>(part.dedup.size())});
      part.records.push_back(item.message);
      part.conversations.push_back(item.conversation);
      part.dedup.push_back(item.dedup);
      bytes += item.message->footprint() + kRecordOverhead;
    }
    if (part.first == LogPosition()) part.first = items.front().message->place().position;
    part.last = items.back().message->place().position;
    part.bytes += bytes;
  }
  bytes_.fetch_add(bytes, std::memory_order_relaxed);
  for (Item& item : items) push(*item.conversation, item.message->seq(), item.message->place().position, item.message);
  published_.store(items.back().message->place().position.value(), std::memory_order_release);
}

void Window::push(Conversation& conversation, MessageSeq seq, LogPosition position, MessagePtr message) {
  Conversations::Shard& shard = conversations_.shard_of(conversation);
  bool was_empty = false;
  {
    ConversationsLock lock(shard);
    was_empty = conversation.run.empty();
    conversation.head.number = conversation.given.number;
    conversation.head.last_seq = seq;
    conversation.head.last_position = position;
    if (message) conversation.head.first_user_count = message->place().first_user_count;
    conversation.run.push(seq, std::move(message));
  }
  if (was_empty) users_.add(conversation);
  users_.raise(conversation, position);
}

void Window::publish_lost(LostRecord lost, Conversation& conversation) {
  const LogPosition position = lost.position;
  const MessageSeq seq = lost.seq;
  {
    MutexLock lock(mutex_);
    WindowPart& part = *parts_.back();
    if (part.first == LogPosition()) part.first = position;
    part.last = position;
    part.lost.push_back(std::move(lost));
    part.lost_conversations.push_back(&conversation);
  }
  push(conversation, seq, position, MessagePtr());
  published_.store(position.value(), std::memory_order_release);
}

bool Window::seal(const std::string& file) {
  MutexLock lock(mutex_);
  WindowPart& part = *parts_.back();
  if (part.records.empty() && part.lost.empty()) {
    // The chain of segments leads through this file to those before it: it must not be overwritten before they are in history.
    if (parts_.size() < 2) return false;
    WindowPart& before = *parts_[parts_.size() - 2];
    if (before.ingested) return false;
    before.files.push_back(file);
    return true;
  }
  part.files.push_back(file);
  part.sealed = true;
  add_part();
  return true;
}

std::vector<std::string> Window::files() const {
  MutexLock lock(mutex_);
  std::vector<std::string> names;
  for (const auto& part : parts_) {
    if (part->sealed && !part->ingested) names.insert(names.end(), part->files.begin(), part->files.end());
  }
  return names;
}

Window::Known Window::dedup_at(DedupPlace place) const {
  MutexLock lock(mutex_);
  const WindowPart& part = *parts_[place.part - parts_.front()->number];
  return {&part.dedup[place.index], part.records[place.index]->place().position};
}

bool Window::evict(std::size_t records) {
  if (!can_evict()) return false;
  WindowPart* part = nullptr;
  {
    MutexLock lock(mutex_);
    part = parts_.front().get();
    if (!part->ingested || part->pins != 0) return false;
  }
  // Before anything goes: readers look at the floor after they have looked into the tables.
  floor_.store(part->last.value(), std::memory_order_release);
  std::uint64_t bytes = 0;
  std::size_t i = evicted_in_front_.load(std::memory_order_relaxed);
  for (; i < part->records.size() && records > 0; ++i, --records) {
    MessagePtr message = std::move(part->records[i]);
    bytes += message->footprint() + kRecordOverhead;
    dedup_.erase(part->dedup[i].key, {part->number, static_cast<std::uint32_t>(i)});
    pop_through(*part->conversations[i], message->seq());
  }
  ingested_bytes_.fetch_sub(bytes, std::memory_order_relaxed);
  bytes_.fetch_sub(bytes, std::memory_order_relaxed);
  evicted_in_front_.store(i, std::memory_order_relaxed);
  if (i < part->records.size()) return true;
  for (std::size_t lost = 0; lost < part->lost.size(); ++lost) pop_through(*part->lost_conversations[lost], part->lost[lost].seq);
  evicted_in_front_.store(0, std::memory_order_relaxed);
  ingested_parts_.fetch_sub(1, std::memory_order_release);
  left_.store(part->last.value(), std::memory_order_release);
  MutexLock lock(mutex_);
  parts_.pop_front();
  return can_evict() && parts_.front()->ingested && parts_.front()->pins == 0;
}

void Window::pop_through(Conversation& conversation, MessageSeq seq) {
  // Out of the users' lists first, while the conversation cannot be evicted yet: a reader there goes on to the conversation.
  Conversations::Shard& shard = conversations_.shard_of(conversation);
  bool last = false;
  {
    ConversationsLock lock(shard);
    if (conversation.run.empty()) return;
    last = conversation.run.last() <= seq;
  }
  if (last) users_.remove(conversation);
  ConversationsLock lock(shard);
  while (!conversation.run.empty() && conversation.run.first() <= seq) conversation.run.pop();
}

WindowPart* Window::oldest_sealed() {
  MutexLock lock(mutex_);
  for (auto& part : parts_) {
    if (!part->ingested) return part->sealed ? part.get() : nullptr;
  }
  return nullptr;
}

std::vector<std::string> Window::mark_ingested(WindowPart& part) {
  MutexLock lock(mutex_);
  part.ingested = true;
  std::vector<std::string> files = std::move(part.files);
  ingested_bytes_.fetch_add(part.bytes, std::memory_order_relaxed);
  ingested_parts_.fetch_add(1, std::memory_order_release);
  return files;
}

Window::Pin Window::pin() {
  MutexLock lock(mutex_);
  for (auto& part : parts_) {
    if (part->ingested) continue;
    ++part->pins;
    return Pin(*this, *part);
  }
  CHECK(false);  // the active part is never ingested
  return {};
}

void Window::unpin(WindowPart& part) {
  MutexLock lock(mutex_);
  --part.pins;
}

ActivityPage Window::activity_since(std::string_view user, LogPosition after, std::size_t limit) {
  ActivityPage page;
  page.scanned_to = std::max(published(), after);  // read before the tables: everything up to it is in them
  WindowUsers::Shard& shard = users_.shard_of(user);
  WindowUsersLock lock(shard);
  const auto found = shard.users.find(user);
  if (found == shard.users.end()) return page;
  std::vector<std::pair<LogPosition, Conversation*>> starts;
  const WindowUser& his = *found->second;
  for (auto it = his.conversations.rbegin(); it != his.conversations.rend(); ++it) {
    Conversation* const c = *it;
    if (c == nullptr) continue;
    ConversationsLock inner(conversations_.shard_of(*c));
    if (c->head.last_position <= after) {
      if (his.ordered) break;
      continue;
    }
    const MessageSeq first = first_above(c->run, after);
    if (first > c->run.last()) continue;  // what is newer of it is lost
    starts.emplace_back(position_at(c->run, first), c);
  }
  std::sort(starts.begin(), starts.end());
  LogPosition through(UINT64_MAX);
  if (starts.size() > limit) {
    // The page ends before the next conversation's first record, so that nothing below scanned_to is left out.
    through = starts[limit].first.prev();
    page.scanned_to = through;
    page.more = true;
    starts.resize(limit);
  }
  for (const auto& [first, c] : starts) {
    ConversationsLock inner(conversations_.shard_of(*c));
    if (auto entry = entry_of(*c, after, through)) page.entries.push_back(std::move(*entry));
  }
  return page;
}

std::optional<MessageSeq> Window::seq_at(const Conversation& c, LogPosition position) {
  if (position >= c.head.last_position) return c.head.last_seq;
  if (c.run.empty()) return std::nullopt;
  const MessageSeq above = first_above(c.run, position);
  if (above > c.run.first()) return above.prev();
  const MessagePtr& first = c.run.at(c.run.first());
  if (first && first->place().previous <= position) return first->seq().prev();
  return std::nullopt;
}

ActivityPage Window::activity_newest(std::string_view user, LogPosition floor, LogPosition from, std::size_t limit) {
  ActivityPage page;
  WindowUsers::Shard& shard = users_.shard_of(user);
  WindowUsersLock lock(shard);
  const auto found = shard.users.find(user);
  if (found == shard.users.end()) return page;
  const WindowUser& his = *found->second;
  std::size_t in_order = 0;
  for (auto it = his.conversations.rbegin(); it != his.conversations.rend() && in_order <= limit; ++it) {
    Conversation* const c = *it;
    if (c == nullptr) continue;
    ConversationsLock inner(conversations_.shard_of(*c));
    if (his.ordered && c->head.last_position <= floor) break;
    auto entry = entry_of(*c, floor, from);
    if (!entry) continue;
    // One with something newer than `from` may belong anywhere; of the others none below it is newer.
    if (his.ordered && entry->last_position == c->head.last_position) ++in_order;
    page.entries.push_back(std::move(*entry));
  }
  std::sort(page.entries.begin(), page.entries.end(),
            [](const ActivityEntry& a, const ActivityEntry& b) { return a.last_position > b.last_position; });
  if (page.entries.size() > limit) {
    page.entries.resize(limit);
    page.more = true;
  }
  return page;
}

std::vector<ConversationId> Window::conversations_of(std::string_view user, std::string_view after) {
  std::vector<ConversationId> names;
  WindowUsers::Shard& shard = users_.shard_of(user);
  WindowUsersLock lock(shard);
  const auto found = shard.users.find(user);
  if (found == shard.users.end()) return names;
  for (const Conversation* c : found->second->conversations) {
    if (c != nullptr && c->id > after) names.emplace_back(std::string_view(c->id));
  }
  std::sort(names.begin(), names.end());
  return names;
}

FeedPage Window::feed(LogPosition after, std::size_t max_messages) {
  FeedPage page;
  page.next = after;
  MutexLock lock(mutex_);
  for (const auto& part : parts_) {
    if (part->last <= after) continue;
    auto record = std::upper_bound(part->records.begin(), part->records.end(), after,
                                   [](LogPosition p, const MessagePtr& m) { return p < m->place().position; });
    for (; record != part->records.end() && page.messages.size() < max_messages; ++record) {
      page.messages.push_back(*record);
      page.next = (*record)->place().position;
    }
    if (page.messages.size() >= max_messages) break;
    page.next = part->last;
  }
  return page;
}

}  // namespace dunlin::embedded

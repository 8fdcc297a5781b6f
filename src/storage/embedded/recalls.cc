#include "storage/embedded/recalls.h"

#include <algorithm>

#include "base/log.h"
#include "messaging/ports/hidden_messages.h"

namespace dunlin::embedded {

Status Recalls::load(LogPosition last) {
  TRY_ASSIGN(const std::vector<RecallRow> rows, rows_.recalls());
  std::vector<RecallRow> gone;
  const auto wall = static_cast<std::uint64_t>(std::max<std::int64_t>(to_ms(clock_.wall()), 0));
  const MonotonicTime now = clock_.monotonic();
  {
    MutexLock lock(mutex_);
    for (const RecallRow& row : rows) {
      if (row.position > last) {
        gone.push_back(row);
        continue;
      }
      // What was recalled in the future was so by a clock that has been set back: it waits anew.
      const std::uint64_t waited = wall > row.time_ms ? wall - row.time_ms : 0;
      Entry entry;
      entry.position = row.position;
      entry.since = now - Milliseconds(static_cast<std::int64_t>(std::min<std::uint64_t>(waited, 1ULL << 40)));
      entries_[{row.conversation_number, row.seq}] = entry;
    }
    count_.store(entries_.size(), std::memory_order_release);
  }
  if (gone.empty()) return {};
  log_warn("store", "recalled messages were lost before they were durable", {{"messages", gone.size()}});
  return rows_.remove_recalls(gone, true);
}

Status Recalls::add(const MessagePlace& place) {
  const Key key{place.conversation_number, place.seq};
  {
    MutexLock lock(mutex_);
    if (entries_.contains(key)) return {};
    if (entries_.size() + adding_ >= most_) return Error(ErrorCode::Overloaded, "too many recalled messages wait to leave the files");
    ++adding_;
  }
  // The row first: who is told that it is hidden must find it hidden after a crash.
  const auto now = static_cast<std::uint64_t>(std::max<std::int64_t>(to_ms(clock_.wall()), 0));
  Status done = rows_.add_recall({place.conversation_number, place.seq, place.position, now});
  MutexLock lock(mutex_);
  --adding_;
  if (!done.ok()) return done;
  Entry entry;
  entry.position = place.position;
  entry.since = clock_.monotonic();
  entries_.try_emplace(key, entry);
  count_.store(entries_.size(), std::memory_order_release);
  return {};
}

bool Recalls::hides(const Message& message) const {
  const auto found = entries_.find({message.place().conversation_number, message.seq()});
  return found != entries_.end() && found->second.position == message.place().position;
}

// -- reads

Recalls::Reading::Reading(Recalls& recalls) : recalls_(recalls) {
  if (recalls_.waiting() == 0) return;
  // Counted in the phase that still holds then: retire() turns the phase, and waits for those that were counted before.
  while (true) {
    const int phase = recalls_.phase_.load();
    recalls_.readings_[static_cast<std::size_t>(phase)].fetch_add(1);
    phase_ = phase;
    if (recalls_.phase_.load() == phase) return;
    recalls_.readings_[static_cast<std::size_t>(phase)].fetch_sub(1);
  }
}

Recalls::Reading::~Reading() {
  if (phase_ >= 0) recalls_.readings_[static_cast<std::size_t>(phase_)].fetch_sub(1);
}

// Where the hidden ones among these stand, ascending.
std::vector<LogPosition> Recalls::hidden_among(std::span<const MessagePtr> messages) const {
  std::vector<LogPosition> out;
  if (messages.empty() || waiting() == 0) return out;
  {
    MutexLock lock(mutex_);
    for (const MessagePtr& message : messages) {
      if (hides(*message)) out.push_back(message->place().position);
    }
  }
  std::ranges::sort(out);
  return out;
}

void Recalls::Reading::hide(RangePage& page, bool newest_first) const {
  const auto hidden = recalls_.hidden_among(page.messages);
  if (hidden.empty()) return;
  hide_messages(page, newest_first, [&](const Message& message) { return std::ranges::binary_search(hidden, message.place().position); });
}

void Recalls::Reading::hide(FeedPage& page) const {
  const auto hidden = recalls_.hidden_among(page.messages);
  if (hidden.empty()) return;
  std::erase_if(page.messages, [&](const MessagePtr& message) { return std::ranges::binary_search(hidden, message->place().position); });
}

// -- the log

bool Recalls::any_in_log() const {
  if (waiting() == 0) return false;
  MutexLock lock(mutex_);
  return std::ranges::any_of(entries_, [](const auto& one) { return one.second.in_log; });
}

void Recalls::begin_round() {
  MutexLock lock(mutex_);
  for (auto& [key, entry] : entries_) entry.in_round = entry.in_log;
}

void Recalls::end_round() {
  MutexLock lock(mutex_);
  for (auto& [key, entry] : entries_) {
    if (entry.in_round) entry.in_log = entry.in_round = false;
  }
}

std::vector<RecallRow> Recalls::all() const {
  std::vector<RecallRow> out;
  {
    MutexLock lock(mutex_);
    for (const auto& [key, entry] : entries_) out.push_back({key.conversation_number, key.seq, entry.position, 0});
  }
  std::ranges::sort(out, {}, &RecallRow::position);
  return out;
}

std::vector<RecalledRecord> Recalls::strip(std::span<const MessagePtr> records, std::vector<MessagePtr>& out) const {
  std::vector<RecalledRecord> found;
  if (records.empty() || waiting() == 0) return found;
  MutexLock lock(mutex_);
  const LogPosition first = records.front()->place().position;
  const LogPosition last = records.back()->place().position;
  const bool any =
      std::ranges::any_of(entries_, [&](const auto& one) { return one.second.position >= first && one.second.position <= last; });
  if (!any) return found;
  out.assign(records.begin(), records.end());
  for (MessagePtr& message : out) {
    if (!hides(*message)) continue;
    found.push_back({message->place().conversation_number, message->seq(), message->place().position});
    message = Message::recalled(*message);
  }
  return found;
}

// -- history

std::vector<RecalledRecord> Recalls::due_in_history(LogPosition stored, Milliseconds wait) const {
  std::vector<RecalledRecord> out;
  if (waiting() == 0) return out;
  const MonotonicTime now = clock_.monotonic();
  bool due = false;
  MutexLock lock(mutex_);
  for (const auto& [key, entry] : entries_) {
    if (!entry.in_history || entry.stuck || entry.position > stored) continue;
    out.push_back({key.conversation_number, key.seq, entry.position});
    due = due || now - entry.since >= wait;
  }
  if (!due) out.clear();
  return out;
}

Recalls::Entry* Recalls::find(const RecalledRecord& record) {
  const auto found = entries_.find({record.conversation_number, record.seq});
  return found != entries_.end() && found->second.position == record.position ? &found->second : nullptr;
}

void Recalls::out_of_history(std::span<const RecalledRecord> records) {
  MutexLock lock(mutex_);
  for (const RecalledRecord& record : records) {
    if (Entry* entry = find(record)) entry->in_history = entry->stuck;
  }
}

void Recalls::stuck_in_history(std::span<const RecalledRecord> records) {
  MutexLock lock(mutex_);
  for (const RecalledRecord& record : records) {
    if (Entry* entry = find(record)) entry->stuck = true;
  }
}

// -- the end

Status Recalls::retire(LogPosition window, LogPosition trimmed) {
  if (waiting() == 0) return {};
  drop_left();
  if (leaving_) return {};
  std::vector<RecallRow> done;
  {
    MutexLock lock(mutex_);
    for (const auto& [key, entry] : entries_) {
      if (entry.in_log || (entry.in_history && entry.position > trimmed) || entry.position > window) continue;
      done.push_back({key.conversation_number, key.seq, entry.position, 0});
    }
  }
  if (done.empty()) return {};
  TRY(rows_.remove_recalls(done, false));
  log_info("store", "recalled messages have left the files", {{"messages", done.size()}});
  {
    MutexLock lock(mutex_);
    for (const RecallRow& row : done) entries_[{row.conversation_number, row.seq}].leaving = true;
  }
  leaving_ = true;
  phase_.store(1 - phase_.load());
  drop_left();
  return {};
}

void Recalls::drop_left() {
  if (!leaving_ || readings_[static_cast<std::size_t>(1 - phase_.load())].load() != 0) return;
  leaving_ = false;
  MutexLock lock(mutex_);
  std::erase_if(entries_, [](const auto& one) { return one.second.leaving; });
  count_.store(entries_.size(), std::memory_order_release);
}

}  // namespace dunlin::embedded

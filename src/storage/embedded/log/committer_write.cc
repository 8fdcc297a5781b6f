// The part of Committer in which a batch becomes durable, or is taken back.
#include <algorithm>

#include "base/log.h"
#include "storage/embedded/log/committer.h"

namespace dunlin::embedded {
namespace {

// Cursors take an eighth of a batch's bytes, but a small batch may be carried for their sake.
constexpr std::uint64_t kCursorShare = 8;
constexpr std::uint64_t kCursorBytesMin = 4 << 10;
constexpr std::uint64_t kCursorBytesMax = 64 << 10;

}  // namespace

void Committer::commit() {
  if (outcomes_.empty()) return;
  if (!items_.empty() && !allow_ack_at(batch_asks_)) batch_asks_ = Durability::Fsync;
  if (batch_asks_ == Durability::Memory && !writer_.broken()) return commit_after_the_answers();
  Status done;
  if (!items_.empty()) {
    done = write(messages_);
  } else if (batch_asks_ == Durability::Fsync || (batch_asks_ == Durability::Os && writer_.broken())) {
    done = writer_.sync();  // a duplicate asks for more than its original did
  }
  failing_.store(writer_.broken(), std::memory_order_release);
  if (done.ok()) {
    if (writer_.broken()) {
      set_level(Durability::Memory);  // duplicates of what is owed
    } else {
      set_level(writer_.has_unsynced() ? Durability::Os : Durability::Fsync);
    }
    if (!items_.empty()) window_.publish(items_);
  } else {
    next_heal_ = options_.clock->monotonic() + options_.heal_every;
    log_error("store", "a batch could not be made durable and is refused",
              {{"records", items_.size()}, {"error", done.error().to_string()}});
    take_back();
  }
  tell();
}

// Nothing in the batch asks for more than memory: the answers do not wait for the write.
void Committer::commit_after_the_answers() {
  set_level(Durability::Memory);
  const std::vector<MessagePtr> records = messages_;
  if (!items_.empty()) window_.publish(items_);
  tell();
  if (records.empty()) return;
  if (auto done = write(records); !done.ok()) {
    writer_.owe(records);
    next_heal_ = options_.clock->monotonic() + options_.heal_every;
    log_error("store", "a batch that was acked from memory is not written yet; it is tried again",
              {{"records", records.size()}, {"error", done.error().to_string()}});
  }
  failing_.store(writer_.broken(), std::memory_order_release);
}

Status Committer::write(std::span<const MessagePtr> records) {
  const bool sync = batch_asks_ == Durability::Fsync;
  const auto start = std::chrono::steady_clock::now();
  cursors_.clear();
  if (options_.take_cursors && !writer_.broken()) {
    options_.take_cursors(records.back()->place().position, std::clamp(batch_bytes_ / kCursorShare, kCursorBytesMin, kCursorBytesMax),
                          cursors_);
  }
  Status done = writer_.append(records, batch_last_.next(), sync, cursors_);
  const auto took = std::chrono::steady_clock::now() - start;
  stats_.batches.fetch_add(1, std::memory_order_relaxed);
  if (sync) stats_.syncs.fetch_add(1, std::memory_order_relaxed);
  if (done.ok()) stats_.records.fetch_add(records.size(), std::memory_order_relaxed);
  if (done.ok()) stats_.cursor_bytes.fetch_add(cursors_.size(), std::memory_order_relaxed);
  stats_.commit_ns.fetch_add(static_cast<std::uint64_t>(took.count()), std::memory_order_relaxed);
  stats_.failovers.store(writer_.failovers(), std::memory_order_relaxed);
  note_failures();
  if (options_.on_batch) options_.on_batch({.records = records.size(), .took = took, .sync_took = writer_.sync_took()});
  return done;
}

void Committer::set_level(Durability level) {
  for (std::size_t i = 0; i < outcomes_.size(); ++i) {
    if (answers_[i].needs_batch) outcomes_[i].durability = level;
  }
}

bool Committer::allow_ack_at(Durability level) {
  if (level >= lowest_allowed_) return true;
  if (options_.before_weak_ack && !options_.before_weak_ack(level).ok()) return false;
  lowest_allowed_ = level;
  return true;
}

// What the kernel could not write back it may have dropped. All is in memory, but an unclean end would prove nothing any more.
void Committer::note_failures() {
  if (lowest_allowed_ == Durability::Os && (writer_.broken() || writer_.failovers() != 0))
    static_cast<void>(allow_ack_at(Durability::Memory));
}

void Committer::take_back() {
  for (auto item = items_.rbegin(); item != items_.rend(); ++item) {
    window_.dedup().erase(item->dedup.key, {DedupPlace::kBatch, static_cast<std::uint32_t>(items_.rend() - item - 1)});
    ConversationsLock lock(intake_.shard_of(*item->conversation));
    item->conversation->given = item->conversation->head;
  }
  last_ = batch_last_;
  last_number_ = batch_number_;
  for (std::size_t i = 0; i < outcomes_.size(); ++i) {
    if (!answers_[i].needs_batch) continue;
    AppendOutcome& outcome = outcomes_[i];
    const AppendRequest& request = answers_[i].pending->request;
    const Message& message = *outcome.message;
    outcome.duplicate = false;
    outcome.seq = MessageSeq();
    if (!orders_.admit(request.session, message.conversation(), message.client_msg_id(), request.abandon)) {
      outcome.refused = ErrorCode::RetryInOrder;
      continue;
    }
    block(*answers_[i].pending, message);
    outcome.refused = ErrorCode::StoreUnavailable;
  }
}

}  // namespace dunlin::embedded

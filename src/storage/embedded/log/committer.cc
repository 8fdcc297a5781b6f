#include "storage/embedded/log/committer.h"

#include <pthread.h>

#include <algorithm>

#include "base/check.h"
#include "base/log.h"

namespace dunlin::embedded {
namespace {

constexpr std::size_t kMaxBatchRecords = 8192;
constexpr std::size_t kEvictSlice = 2048;
constexpr std::chrono::milliseconds kIdleWait{20};

}  // namespace

Committer::Committer(CommitterOptions options, Window& window, SendingSessions& sessions, Intake& intake, CommitQueue& queue,
                     LogWriter& writer, LogPosition last, std::uint64_t last_conversation_number)
    : options_(std::move(options)),
      window_(window),
      sessions_(sessions),
      intake_(intake),
      queue_(queue),
      writer_(writer),
      settled_(last.value()),
      last_(last),
      last_number_(last_conversation_number) {}

Committer::~Committer() {
  stop();
}

void Committer::start() {
  started_.store(true, std::memory_order_release);
  thread_ = std::thread([this] { run(); });
}

Status Committer::end_log() {
  Status ended;
  const auto end = [&] {
    ended = writer_.end(last_.next());
    log_ended_ = true;
  };
  const Status ran = run_between_batches(end);
  between_batches_.end();
  return ran.ok() ? ended : ran;
}

void Committer::stop() {
  if (!thread_.joinable()) return;
  stopping_.store(true, std::memory_order_release);
  queue_.nudge();
  thread_.join();
}

void Committer::run() {
  ::pthread_setname_np(::pthread_self(), "committer");
  while (true) {
    const bool last_round = stopping_.load(std::memory_order_acquire);
    run_once(last_round ? std::chrono::milliseconds(0) : std::max(options_.heal_every, kIdleWait));
    if (last_round) break;
  }
  between_batches_.end();
}

void Committer::run_once(std::chrono::milliseconds wait) {
  if (window_.can_evict() && window_.evict(kEvictSlice)) wait = std::chrono::milliseconds(0);
  queue_.take(input_, wait);
  for (std::size_t done = 0; done < input_.size();) {
    wait_for_window();
    done = make_batch(done);
    commit();
    if (window_.can_evict()) window_.evict(kEvictSlice);
  }
  if (input_.empty()) idle_work();
  input_.clear();
  between_batches_.run_waiting();
}

Status Committer::run_between_batches(const std::function<void()>& job, std::chrono::milliseconds deadline) {
  if (started_.load(std::memory_order_acquire)) return between_batches_.run(job, deadline, [this] { queue_.nudge(); });
  job();
  return {};
}

// Nothing to commit: get out of a failure, and make durable what was acked below fsync.
void Committer::idle_work() {
  if (log_ended_) return;
  if (writer_.broken()) {
    if (can_write() && writer_.heal(last_.next()).ok()) log_info("store", "the log can be written again");
  } else if (writer_.has_unsynced()) {
    ignore(writer_.sync());
  }
  note_failures();
  failing_.store(writer_.broken(), std::memory_order_release);
}

void Committer::wait_for_window() {
  if (log_ended_) return;
  // A segment larger than the bound would never be full, so it is ended early: only sealed parts can leave.
  const bool full = window_.bytes() > options_.window_bytes;
  if (full && !window_.can_evict() && window_.oldest_sealed() == nullptr && !writer_.broken()) ignore(writer_.seal());
  const auto end = std::chrono::steady_clock::now() + options_.full_window_wait;
  while (window_.bytes() > options_.window_bytes) {
    if (window_.can_evict() && window_.evict(kEvictSlice)) continue;
    if (window_stuck_ || std::chrono::steady_clock::now() >= end) {
      window_stuck_ = true;
      return;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  window_stuck_ = false;
}

bool Committer::can_write() {
  if (!writer_.broken()) return true;
  const auto now = options_.clock->monotonic();
  if (now < next_heal_) return false;
  next_heal_ = now + options_.heal_every;
  return true;
}

std::size_t Committer::make_batch(std::size_t from) {
  batch_last_ = last_;
  batch_number_ = last_number_;
  batch_bytes_ = 0;
  batch_asks_ = Durability::Memory;
  may_write_ = can_write();
  intake_.forget_foreign_ids(options_.clock->monotonic());
  now_ms_ = static_cast<std::uint64_t>(to_ms(options_.clock->wall()));
  window_full_.store(window_.bytes() > options_.window_bytes, std::memory_order_release);
  window_.dedup().reserve(std::min(input_.size() - from, kMaxBatchRecords));
  const std::uint64_t bound = writer_.good_batch_bytes();
  for (; from < input_.size() && items_.size() < kMaxBatchRecords; ++from) {
    Pending& pending = input_[from];
    if (pending.kind == Pending::Kind::EndSession) {
      end_session(pending);
    } else if (pending.kind == Pending::Kind::Late) {
      refuse(pending, ErrorCode::StoreUnavailable);
    } else {
      const std::uint64_t bytes = record_bytes(*pending.request.message) + kTableRowBytes;
      if (!items_.empty() && batch_bytes_ + bytes + kBatchHeadBytes > bound) break;
      decide(pending);
    }
  }
  return from;
}

void Committer::decide(Pending& pending) {
  const AppendRequest& request = pending.request;
  const Message& message = *request.message;
  if (!orders_.admit(request.session, message.conversation(), message.client_msg_id(), request.abandon)) {
    return refuse(pending, ErrorCode::RetryInOrder);
  }
  if (log_ended_) return refuse_temporarily(pending, ErrorCode::StoreUnavailable);
  if (pending.refused) return refuse_temporarily(pending, *pending.refused);
  if (!is_new(pending)) {
    if (answer_duplicate(pending)) return;
    // Invariant 3: nobody has looked into history for this one.
    if (pending.history == HistoryAnswer::NotAsked) return refuse_temporarily(pending, ErrorCode::StoreUnavailable);
  }
  const std::uint64_t bytes = record_bytes(message) + kTableRowBytes;
  if (bytes + kBatchHeadBytes + 8 > writer_.max_batch_bytes()) return refuse(pending, ErrorCode::TooLarge);
  if (!may_write_ || disk_low()) return refuse_temporarily(pending, ErrorCode::StoreUnavailable);
  if (window_full()) return refuse_temporarily(pending, ErrorCode::Overloaded);
  store(pending);
}

bool Committer::is_new(Pending& pending) {
  if (pending.request.id && pending.request.id->session != pending.request.session) note_foreign_use(pending);
  return pending.provably_new && !pending.session->foreign_use.load(std::memory_order_relaxed);
}

// An id of another open session. It matters only if that session is of the same user: the sender is part of the key.
void Committer::note_foreign_use(const Pending& pending) {
  SendingSession* session = sessions_.find(pending.request.id->session);
  if (session == nullptr) return;
  const std::uint64_t owner = session->sender.load(std::memory_order_acquire);
  const std::uint64_t sender = intake_.sender_hash(*pending.request.message);
  if (owner == 0 || owner == sender) session->foreign_use.store(true, std::memory_order_release);
}

bool Committer::answer_duplicate(Pending& pending) {
  const DedupKey& key = pending.dedup.key;
  const bool found = window_.dedup().find(key, [&](DedupPlace place) {
    if (place.part == DedupPlace::kBatch) {
      const Window::Item& item = items_[place.index];
      if (item.dedup.key != key) return false;
      duplicate(pending, item.dedup, item.message->place().position, true);
      return true;
    }
    const Window::Known known = window_.dedup_at(place);
    if (known.entry->key != key) return false;
    duplicate(pending, *known.entry, known.position, false);
    return true;
  });
  if (found) return true;
  if (pending.history != HistoryAnswer::Present) return false;
  duplicate(pending, *pending.found, LogPosition(), false);
  return true;
}

void Committer::duplicate(Pending& pending, const DedupEntry& original, LogPosition position, bool in_batch) {
  if (original.body_digest != pending.dedup.body_digest) {
    answer(pending, in_batch).refused = ErrorCode::ClientMsgIdConflict;  // with a record of the batch: if that fails, with nothing
    return;
  }
  // What history holds is synced (position 0 here).
  const bool synced = !in_batch && position <= writer_.synced_through();
  if (!synced) batch_asks_ = std::max(batch_asks_, pending.request.durability);
  AppendOutcome& outcome = answer(pending, !synced);
  outcome.duplicate = true;
  outcome.seq = original.seq;
  outcome.time_ms = original.time_ms;
  if (synced) outcome.durability = Durability::Fsync;  // else what the batch reaches
}

void Committer::store(Pending& pending) {
  Conversation& conversation = *pending.conversation;
  ConversationHead& given = conversation.given;
  if (given.number == 0) given.number = ++last_number_;
  last_ = last_.next();
  MessagePtr message = std::move(pending.request.message);
  MessagePlace place;
  place.seq = given.last_seq.next();
  place.position = last_;
  place.previous = given.last_position;
  place.time_ms = now_ms_;
  place.conversation_number = given.number;
  place.first_user_count = given.first_user_count;
  if (conversation.pair && conversation.pair->first == message->sender()) ++place.first_user_count;
  message->set_place(place);
  given.last_seq = place.seq;
  given.last_position = place.position;
  given.first_user_count = place.first_user_count;
  batch_bytes_ += record_bytes(*message) + kTableRowBytes;
  batch_asks_ = std::max(batch_asks_, pending.request.durability);

  Window::Item item;
  item.message = message;
  item.conversation = &conversation;
  item.dedup = pending.dedup;
  item.dedup.seq = place.seq;
  item.dedup.time_ms = place.time_ms;
  item.dedup_slot = window_.dedup().insert(item.dedup.key, {DedupPlace::kBatch, static_cast<std::uint32_t>(items_.size())});
  items_.push_back(std::move(item));
  messages_.push_back(message);
  AppendOutcome& outcome = answer(pending, true);
  outcome.message = std::move(message);
  outcome.seq = place.seq;
  outcome.time_ms = place.time_ms;
}

AppendOutcome& Committer::answer(Pending& pending, bool needs_batch) {
  AppendOutcome& outcome = outcomes_.emplace_back();
  outcome.reply = pending.request.reply;
  outcome.message = pending.request.message;
  answers_.push_back({&pending, needs_batch});
  return outcome;
}

void Committer::refuse(Pending& pending, ErrorCode code) {
  answer(pending, false).refused = code;
}

void Committer::refuse_temporarily(Pending& pending, ErrorCode code) {
  block(pending, *pending.request.message);
  refuse(pending, code);
}

// A healthy session has no order here: it begins with its first block.
void Committer::block(const Pending& pending, const Message& message) {
  const SessionKey& session = pending.request.session;
  if (pending.session != nullptr) orders_.begin(session);
  orders_.block(session, message.conversation(), message.client_msg_id());
}

void Committer::tell() {
  for (const Answer& answer : answers_) {
    if (answer.pending->kind != Pending::Kind::Late) release(*answer.pending);
  }
  StoreListener* listener = listener_.load(std::memory_order_acquire);
  if (listener != nullptr) {
    const std::span<const InboxNews> news = news_.take(outcomes_);
    listener->on_commit(outcomes_, news);
    news_.clear();
  }
  settled_.store(last_.value(), std::memory_order_release);
  for (const Answer& answer : answers_) {
    if (answer.pending->kind == Pending::Kind::Late) continue;
    if (SendingSession* session = answer.pending->session) {
      if (session->pending.fetch_sub(1, std::memory_order_acq_rel) == 1 && session->ended)
        finish_session(answer.pending->request.session, *session);
    }
    intake_.settled(answer.pending->bytes);
  }
  items_.clear();
  messages_.clear();
  outcomes_.clear();
  answers_.clear();
}

void Committer::release(Pending& pending) {
  pending.conversation->pins.fetch_sub(1, std::memory_order_release);
  pending.pin = Window::Pin();
}

void Committer::end_session(Pending& pending) {
  SendingSession* session = sessions_.find(pending.request.session);
  if (session == nullptr) {
    pending.ended.complete({});
    return;
  }
  session->ended = true;
  session->waiters.push_back(std::move(pending.ended));
  if (session->pending.load(std::memory_order_acquire) == 0) finish_session(pending.request.session, *session);
}

void Committer::finish_session(SessionKey key, SendingSession& session) {
  auto waiters = std::move(session.waiters);
  if (sessions_.remove(key)) orders_.end(key);
  for (auto& waiter : waiters) waiter.complete({});
}

}  // namespace dunlin::embedded

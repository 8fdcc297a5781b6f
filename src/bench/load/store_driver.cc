#include "bench/load/store_driver.h"

#include <fmt/format.h>

#include <random>
#include <thread>

#include "messaging/model/conversation.h"
#include "messaging/model/session_key.h"
#include "runtime/spawn.h"

namespace dunlin::bench {
namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr auto kCursorInterval = std::chrono::seconds(2);
constexpr std::uint64_t kVolumeBytes = 256ULL << 20;  // small, so that a run makes several

}  // namespace

StoreDriver::StoreDriver(std::string folder, std::uint32_t conversations)
    : folder_(std::move(folder)),
      offload_({.name = "bench", .threads = 4, .queue_jobs = 65536}),
      body_(R"({"text":")" + std::string(120, 'x') + R"("})"),
      heads_(conversations),
      is_moved_(conversations) {}

StoreDriver::~StoreDriver() {
  ignore(close());
  offload_.stop();
}

Status StoreDriver::open() {
  embedded::EmbeddedOptions options;
  options.path = folder_;
  options.offload = &offload_;
  options.volume_bytes = kVolumeBytes;
  options.keep_recent = true;  // as the server does
  TRY_ASSIGN(store_, embedded::EmbeddedStore::open(std::move(options)));
  store_->set_listener(this);
  sessions_.clear();
  numbers_.assign(kSenders, 0);
  for (std::uint32_t i = 0; i < kSenders; ++i) {
    sessions_.push_back(SessionKey::random());
    store_->begin_session(sessions_.back());
  }
  cursors_saved_ = SteadyClock::now();
  return {};
}

Status StoreDriver::close() {
  if (!store_) return {};
  wait_for_room(0);
  store_->close();
  store_.reset();
  return check();
}

std::string StoreDriver::sender_name(std::uint32_t conversation) {
  return fmt::format("user{:06}", conversation % kSenders);
}

std::string StoreDriver::receiver_name(std::uint32_t conversation) {
  return fmt::format("peer{:07}", conversation);
}

AppendRequest StoreDriver::make_request(std::uint32_t conversation) {
  const std::uint32_t sender = conversation % kSenders;
  const std::string from = sender_name(conversation);
  const ConversationId id = private_conversation(from, receiver_name(conversation));
  const std::uint64_t number = ++numbers_[sender];
  const std::string client_msg_id = fmt::format("{}-{}", sessions_[sender].text(), number);
  MessageDraft draft;
  draft.conversation = id.view();
  draft.sender = from;
  draft.client_msg_id = client_msg_id;
  draft.body = body_;
  AppendRequest request;
  request.message = Message::create(draft);
  request.session = sessions_[sender];
  request.id = NumberedMsgId{sessions_[sender], number};
  return request;
}

void StoreDriver::submit(std::span<const std::uint32_t> conversations) {
  std::vector<AppendRequest> requests;
  requests.reserve(conversations.size());
  for (const std::uint32_t conversation : conversations) requests.push_back(make_request(conversation));
  {
    std::lock_guard lock(mutex_);
    for (std::size_t i = 0; i < requests.size(); ++i) {
      if (free_.empty()) {
        free_.push_back(pending_.size());
        pending_.emplace_back();
      }
      requests[i].reply.request = free_.back();
      pending_[free_.back()] = {next_number_++, conversations[i], requests[i]};
      free_.pop_back();
    }
    in_flight_ += requests.size();
  }
  store_->append(requests);
}

void StoreDriver::repeat_refused() {
  wait_for_room(0);
  std::this_thread::sleep_for(std::chrono::milliseconds(10));
  std::vector<AppendRequest> requests;
  {
    std::lock_guard lock(mutex_);
    for (const auto& [number, place] : refused_) requests.push_back(pending_[place].request);
    refused_.clear();
    in_flight_ = requests.size();
  }
  store_->append(requests);
}

void StoreDriver::wait_for_room(std::size_t at_most_in_flight) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return in_flight_ <= at_most_in_flight; });
}

void StoreDriver::on_answers(std::span<AppendOutcome> answers) {
  std::lock_guard lock(mutex_);
  for (const AppendOutcome& answer : answers) take_outcome(answer);
  in_flight_ -= answers.size();
  changed_.notify_all();
}

// The mutex is held.
void StoreDriver::take_outcome(const AppendOutcome& outcome) {
  if (outcome.reply.request >= pending_.size() || !pending_[outcome.reply.request].request.message) {
    problem_ = "an outcome for a request that is not under way";
    return;
  }
  Pending& pending = pending_[outcome.reply.request];
  if (outcome.refused) {
    if (error_info(*outcome.refused).temporary) {
      refused_.emplace(pending.number, outcome.reply.request);
    } else {
      problem_ = fmt::format("refused: {}", error_info(*outcome.refused).name);
    }
    return;
  }
  std::uint32_t& head = heads_[pending.conversation];
  if (outcome.seq.value() != head + 1 || outcome.duplicate || outcome.durability != Durability::Fsync) {
    problem_ = fmt::format("seq {} came behind {}", outcome.seq.value(), head);
    return;
  }
  ++head;
  ++stored_;
  if (!is_moved_[pending.conversation]) {
    is_moved_[pending.conversation] = true;
    moved_.push_back(pending.conversation);
  }
  pending.request.message = {};
  free_.push_back(outcome.reply.request);
}

Status StoreDriver::check() const {
  std::lock_guard lock(mutex_);
  return problem_.empty() ? Status() : Status(Error(ErrorCode::Corrupt, "the store's answers are wrong: " + problem_));
}

Result<bool> StoreDriver::write(std::uint64_t count, std::chrono::seconds limit, const std::function<std::uint32_t()>& next) {
  const auto end = SteadyClock::now() + limit;
  std::vector<std::uint32_t> batch;
  for (std::uint64_t sent = 0; sent < count;) {
    wait_for_room(kBatch);
    TRY(check());
    if (SteadyClock::now() > end) return false;
    const bool has_refused = [this] {
      std::lock_guard lock(mutex_);
      return !refused_.empty();
    }();
    if (has_refused) {
      repeat_refused();
      continue;
    }
    batch.clear();
    for (; batch.size() < kBatch && sent < count; ++sent) batch.push_back(next());
    submit(batch);
    TRY(save_cursors());
  }
  for (;;) {
    wait_for_room(0);
    TRY(check());
    {
      std::lock_guard lock(mutex_);
      if (refused_.empty()) return true;
    }
    if (SteadyClock::now() > end) return false;
    repeat_refused();
  }
}

Status StoreDriver::save_cursors() {
  const MonotonicTime now = SteadyClock::now();
  if (now - cursors_saved_ < kCursorInterval) return {};
  cursors_saved_ = now;
  std::vector<std::uint32_t> moved;
  {
    std::lock_guard lock(mutex_);
    moved.swap(moved_);
    for (const std::uint32_t conversation : moved) is_moved_[conversation] = false;
  }
  std::vector<DeviceStates::CursorWrite> writes;
  for (const std::uint32_t conversation : moved) {
    DeviceCursor cursor;
    cursor.epoch = store_->epoch();
    cursor.position = InboxPosition(store_->feed_end().value());
    writes.push_back({UserId(receiver_name(conversation)), DeviceId("bench"), std::move(cursor)});
    if (writes.size() == 1000 || conversation == moved.back()) {
      TRY(block_on(store_->state().save_cursors(std::exchange(writes, {}))));
    }
  }
  return {};
}

Status StoreDriver::flush(std::chrono::seconds limit) {
  wait_for_room(0);
  return store_->flush_to_history(limit);
}

Status StoreDriver::verify(std::uint32_t samples) {
  std::minstd_rand random(7);
  for (std::uint32_t i = 0; i < samples; ++i) {
    const auto conversation = static_cast<std::uint32_t>(random() % heads_.size());
    RangeQuery query;
    query.conversation = private_conversation(sender_name(conversation), receiver_name(conversation));
    query.from = MessageSeq(1);
    query.to = MessageSeq(UINT64_MAX);
    query.newest_first = true;
    TRY_ASSIGN(const RangePage page, block_on(store_->range(query)));
    const std::uint64_t expected = heads_[conversation];
    const bool matches = page.head.last_seq.value() == expected && page.gaps.empty() &&
                         (expected == 0 ? page.messages.empty()
                                        : !page.messages.empty() && page.messages.front()->seq().value() == expected &&
                                              page.messages.front()->body() == body_);
    if (!matches) {
      return Error(ErrorCode::Corrupt,
                   fmt::format("{} reads back seq {}, {} were stored", query.conversation.view(), page.head.last_seq.value(), expected));
    }
  }
  return {};
}

}  // namespace dunlin::bench

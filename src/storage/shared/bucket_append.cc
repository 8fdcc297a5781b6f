// A bucket's sends: in order, one batch at a time, and the same batch again while its fate is open.
#include <algorithm>

#include "base/log.h"
#include "runtime/spawn.h"
#include "storage/shared/core.h"

namespace dunlin::shared {
namespace {

AppendOutcome refusal(const AppendRequest& request, ErrorCode code, bool unknown = false) {
  AppendOutcome out;
  out.reply = request.reply;
  out.refused = code;
  out.unknown = unknown;
  out.message = request.message;
  return out;
}

AppendOutcome outcome_of(const AppendRequest& request, const Appended& appended, Durability durability) {
  if (appended.kind == Appended::Kind::Conflict) return refusal(request, ErrorCode::ClientMsgIdConflict);
  AppendOutcome out;
  out.reply = request.reply;
  out.message = request.message;
  out.duplicate = appended.kind == Appended::Kind::Duplicate;
  out.seq = appended.seq;
  out.time_ms = appended.time_ms;
  out.durability = durability;
  return out;
}

// The engine is gone, or the store is.
bool is_over(const Result<std::vector<Appended>>& appended) {
  return !appended.ok() && appended.error().code() == ErrorCode::Cancelled;
}

}  // namespace

void SharedStore::Core::answer(std::vector<AppendOutcome> outcomes) {
  if (outcomes.empty() || ended.load(std::memory_order_acquire)) return;
  if (StoreListener* to = listener.load(std::memory_order_acquire)) to->on_answers(outcomes);
}

Task<void> SharedStore::append_loop(std::shared_ptr<Core> core, std::uint32_t number) {
  Bucket& bucket = core->buckets[number];
  while (true) {
    std::vector<AppendRequest> batch;
    std::vector<AppendOutcome> refused;
    std::vector<SessionKey> answered;
    Append append;
    append.bucket = number;
    append.node_epoch = core->options.node_epoch;
    {
      MutexLock lock(bucket.mutex);
      while (!bucket.waiting.empty() && batch.size() < core->options.max_batch) {
        Waiting waiting = std::move(bucket.waiting.front());
        bucket.waiting.pop_front();
        AppendRequest& request = waiting.request;
        const Message& message = *request.message;
        core->waiting_bytes.fetch_sub(message.footprint());
        if (!bucket.orders.admit(request.session, message.conversation(), message.client_msg_id(), request.abandon)) {
          refused.push_back(refusal(request, ErrorCode::RetryInOrder));
        } else if (waiting.overloaded) {
          bucket.orders.block(request.session, message.conversation(), message.client_msg_id());
          refused.push_back(refusal(request, ErrorCode::Overloaded));
        } else {
          batch.push_back(std::move(request));
          continue;
        }
        answered.push_back(request.session);
      }
      if (batch.empty() && refused.empty()) {
        bucket.appending = false;
        co_return;
      }
      if (!batch.empty()) {
        append.number = ++bucket.last_number;
        append.noted.swap(bucket.noted);
      }
    }
    core->answer(std::move(refused));
    for (const SessionKey& session : answered) core->session_answered(session, 1);
    if (batch.empty()) continue;

    for (const AppendRequest& request : batch) append.messages.push_back(request.message);
    bool told_unknown = false;
    Result<std::vector<Appended>> appended = Error(ErrorCode::Internal);
    for (int attempt = 1;; ++attempt) {
      appended = co_await core->engine.append(append);
      if (core->ended.load(std::memory_order_acquire) || is_over(appended)) co_return;
      if (appended.ok() || appended.error().code() != ErrorCode::Timeout) break;
      if (told_unknown || attempt < core->options.unknown_after) continue;
      // The senders wait no longer; their order does until the same id comes again.
      told_unknown = true;
      std::vector<AppendOutcome> unknown;
      {
        MutexLock lock(bucket.mutex);
        for (const AppendRequest& request : batch) {
          bucket.orders.block(request.session, request.message->conversation(), request.message->client_msg_id());
          unknown.push_back(refusal(request, ErrorCode::StoreUnavailable, true));
        }
      }
      core->answer(std::move(unknown));
      for (const AppendRequest& request : batch) core->session_answered(request.session, 1);
    }
    core->failing.store(!appended.ok());

    std::vector<AppendOutcome> outcomes;
    StoredBatch stored;
    const Durability durability = core->engine.durability();
    bool begins_noting = false;
    {
      MutexLock lock(bucket.mutex);
      for (std::size_t i = 0; i < batch.size(); ++i) {
        const AppendRequest& request = batch[i];
        if (appended.ok()) {
          outcomes.push_back(outcome_of(request, (*appended)[i], durability));
          // The sender's connection has had another answer: to it too it is a record like any other.
          if (outcomes.back().stored_now()) stored.push_back({request.message, told_unknown ? 0 : request.reply.connection});
        } else {
          bucket.orders.block(request.session, request.message->conversation(), request.message->client_msg_id());
          outcomes.push_back(refusal(request, ErrorCode::StoreUnavailable));
        }
      }
    }
    if (!told_unknown) {
      core->answer(std::move(outcomes));
      for (const AppendRequest& request : batch) core->session_answered(request.session, 1);
    }
    if (!stored.empty()) {
      MutexLock lock(bucket.mutex);
      bucket.to_note.push_back(std::move(stored));
      begins_noting = !std::exchange(bucket.noting, true);
    }
    if (begins_noting) spawn(note_loop(core, number));
  }
}

}  // namespace dunlin::shared

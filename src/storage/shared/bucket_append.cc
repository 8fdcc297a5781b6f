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

void block(SendOrders& orders, const AppendRequest& request) {
  orders.block(request.session, request.message->conversation(), request.message->client_msg_id());
}

bool admit(SendOrders& orders, const AppendRequest& request) {
  return orders.admit(request.session, request.message->conversation(), request.message->client_msg_id(), request.abandon);
}

AppendOutcome outcome_of(const AppendRequest& request, const Appended& appended) {
  if (appended.kind == Appended::Kind::Conflict) return refusal(request, ErrorCode::ClientMsgIdConflict);
  AppendOutcome out;
  out.reply = request.reply;
  out.message = request.message;
  out.duplicate = appended.kind == Appended::Kind::Duplicate;
  out.seq = appended.place.seq;
  out.time_ms = appended.place.time_ms;
  out.durability = appended.durability;
  return out;
}

}  // namespace

void SharedStore::Core::answer(Answers answers) {
  held_bytes.fetch_sub(answers.bytes);
  if (answers.outcomes.empty()) return;
  call_listener([&](StoreListener& to) { to.on_answers(answers.outcomes); });
  for (const SessionKey& session : answers.sessions) session_answered(session);
}

// What goes next, and what is refused before it. Neither: the bucket has nothing to do, and its loop ends.
std::vector<AppendRequest> SharedStore::Core::take_batch(Bucket& bucket, Append& append, Answers& refused) {
  std::vector<AppendRequest> batch;
  std::size_t batch_bytes = 0;
  MutexLock lock(bucket.mutex);
  const bool full = bucket.unnoted >= options.max_unnoted;
  while (!bucket.waiting.empty() && batch.size() < options.max_batch) {
    const bool overloaded = full || bucket.waiting.front().overloaded;
    const std::size_t bytes = bucket.waiting.front().request.message->footprint();
    // Its refusal may stand before later ones only when it is known what becomes of the earlier ones of its order.
    if (!batch.empty() && (overloaded || batch_bytes + bytes > options.max_batch_bytes)) break;
    AppendRequest request = std::move(bucket.waiting.front().request);
    bucket.waiting.pop_front();
    const bool admitted = admit(bucket.orders, request);
    if (admitted && !overloaded) {
      batch_bytes += bytes;
      batch.push_back(std::move(request));
      continue;
    }
    if (admitted) block(bucket.orders, request);
    refused.outcomes.push_back(refusal(request, admitted ? ErrorCode::Overloaded : ErrorCode::RetryInOrder));
    refused.sessions.push_back(request.session);
    refused.bytes += bytes;
  }
  if (!batch.empty()) {
    append.number = ++bucket.last_number;
    append.noted.swap(bucket.noted);
  }
  if (batch.empty() && refused.outcomes.empty()) bucket.appending = false;
  return batch;
}

// The senders wait no longer; their order does until the same id comes again.
void SharedStore::Core::tell_unknown(Bucket& bucket, std::vector<AppendRequest>& batch, Append& append) {
  Answers unknown;
  {
    MutexLock lock(bucket.mutex);
    bucket.open = true;
    for (std::size_t i = 0; i < batch.size(); ++i) {
      block(bucket.orders, batch[i]);
      unknown.outcomes.push_back(refusal(batch[i], ErrorCode::StoreUnavailable, true));
      unknown.sessions.push_back(batch[i].session);
      // The one that the senders were given with their answer is not changed any more.
      batch[i].message = append.sends[i].message = Message::copy(*batch[i].message);
      batch[i].reply.connection = 0;  // which has had its answer: to it too it is a record like any other
    }
  }
  answer(std::move(unknown));
}

// One with the id of a send of the batch may be stored: none of them is said not to be.
void SharedStore::Core::refuse_waiting(Bucket& bucket) {
  Answers refused;
  {
    MutexLock lock(bucket.mutex);
    if (!bucket.open) return;
    for (Waiting& waiting : std::exchange(bucket.waiting, {})) {
      const AppendRequest& request = waiting.request;
      const bool admitted = admit(bucket.orders, request);
      if (admitted) block(bucket.orders, request);
      refused.outcomes.push_back(refusal(request, admitted ? ErrorCode::StoreUnavailable : ErrorCode::RetryInOrder, admitted));
      refused.sessions.push_back(request.session);
      refused.bytes += request.message->footprint();
    }
  }
  answer(std::move(refused));
}

// Null: it has taken an append, or nothing is known of it any more.
void SharedStore::Core::set_failing(std::uint32_t number, const Error* error) {
  Bucket& bucket = buckets[number];
  {
    MutexLock lock(bucket.mutex);
    if (error != nullptr) bucket.failed_at = clock.monotonic();
    if (std::exchange(bucket.failing, error != nullptr) == (error != nullptr)) return;
  }
  if (error != nullptr && failing.fetch_add(1) == 0) {
    log_warn("storage", "the engine of the shared store takes no appends", {{"bucket", number}, {"error", error->to_string()}});
  }
  if (error == nullptr && failing.fetch_sub(1) == 1) log_info("storage", "appends to the shared store fail no more");
}

Task<void> SharedStore::append_loop(std::shared_ptr<Core> core, std::uint32_t number) {
  Bucket& bucket = core->buckets[number];
  while (!core->is_over()) {
    Append append;
    append.bucket = number;
    append.node_epoch = core->options.node_epoch;
    Core::Answers answers;
    std::vector<AppendRequest> batch = core->take_batch(bucket, append, answers);
    if (batch.empty() && answers.outcomes.empty()) co_return;
    core->answer(std::exchange(answers, {}));
    if (batch.empty()) continue;

    for (const AppendRequest& request : batch) append.sends.push_back({request.message, request.durability});
    bool open = false;
    bool told_unknown = false;
    Backoff backoff;
    Result<std::vector<Appended>> appended = Error(ErrorCode::Internal);
    for (int attempt = 1;; ++attempt) {
      appended = co_await core->engine.append(append);
      if (core->is_over()) co_return;
      // Once an attempt has left it open, no later one can say that nothing was stored.
      open = open || (!appended.ok() && leaves_open(appended.error()));
      if (appended.ok() || !open) break;
      if (attempt >= core->options.unknown_after) {
        core->set_failing(number, &appended.error());
        if (!std::exchange(told_unknown, true)) core->tell_unknown(bucket, batch, append);
        core->refuse_waiting(bucket);
      }
      ignore(co_await core->pause(backoff.take()));
      if (core->is_over()) co_return;
    }
    const bool overloaded = !appended.ok() && appended.error().code() == ErrorCode::Overloaded;
    core->set_failing(number, appended.ok() || overloaded ? nullptr : &appended.error());
    CHECK(!appended.ok() || appended->size() == batch.size());

    StoredBatch stored;
    bool begins_noting = false;
    {
      MutexLock lock(bucket.mutex);
      bucket.open = false;
      for (std::size_t i = 0; i < batch.size(); ++i) {
        AppendRequest& request = batch[i];
        const bool is_stored = appended.ok() && (*appended)[i].kind == Appended::Kind::Stored;
        if (is_stored) {
          request.message->set_place((*appended)[i].place);
          stored.push_back({request.message, request.reply.connection});
        } else {
          answers.bytes += request.message->footprint();
        }
        if (told_unknown) continue;
        if (!appended.ok()) block(bucket.orders, request);
        answers.outcomes.push_back(appended.ok() ? outcome_of(request, (*appended)[i])
                                                 : refusal(request, overloaded ? ErrorCode::Overloaded : ErrorCode::StoreUnavailable));
        answers.sessions.push_back(request.session);
      }
      if (!appended.ok()) bucket.noted.insert(bucket.noted.begin(), append.noted.begin(), append.noted.end());
    }
    core->answer(std::move(answers));
    if (stored.empty()) continue;
    {
      MutexLock lock(bucket.mutex);
      bucket.unnoted += stored.size();
      bucket.to_note.push_back(std::move(stored));
      begins_noting = !std::exchange(bucket.noting, true);
    }
    if (begins_noting) spawn(note_loop(core, number));
  }
}

}  // namespace dunlin::shared

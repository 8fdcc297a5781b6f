// What a bucket has stored is noted in inboxes, told to nodes, and then due no more.
#include <algorithm>
#include <map>

#include "base/log.h"
#include "messaging/model/conversation.h"
#include "runtime/spawn.h"
#include "storage/shared/core.h"

namespace dunlin::shared {
namespace {

// The records of one conversation, ascending.
using Stored = std::map<ConversationId, std::vector<ToldRecord>>;

std::vector<Note> notes_of(const ConversationId& conversation, MessageSeq seq) {
  const auto pair = parse_private(conversation.view());
  if (!pair) return {};
  std::vector<Note> out;
  out.push_back({UserId(pair->first), conversation, seq});
  if (pair->second != pair->first) out.push_back({UserId(pair->second), conversation, seq});
  return out;
}

// What need not be due any more, once those concerned are told. The notes of a conversation stand side by side.
std::vector<Due> done_of(const std::vector<Note>& notes, const std::vector<Noted>& noted) {
  std::vector<Due> out;
  for (std::size_t i = 0; i < notes.size(); ++i) {
    if (out.empty() || out.back().conversation != notes[i].conversation) {
      out.push_back({notes[i].conversation, notes[i].seq, noted[i].generation});
    }
    out.back().generation = std::min(out.back().generation, noted[i].generation);
  }
  return out;
}

std::vector<UserId> users_of(const std::vector<Note>& notes) {
  std::vector<UserId> out;
  for (const Note& note : notes) out.push_back(note.user);
  return out;
}

// What one user is told, kept as long as it takes.
struct Telling {
  const Note* note = nullptr;
  const Noted* noted = nullptr;
  std::vector<ToldRecord> records;
  bool bare = false;
};

InboxNews local_news(const Telling& telling) {
  InboxNews out;
  out.user = telling.note->user.view();
  out.records = telling.records;
  out.has_range = telling.bare || telling.noted->added;
  out.at = telling.noted->newest;
  out.previous = telling.noted->previous;
  out.first_seq = telling.noted->first_seq;
  out.seq = telling.bare ? MessageSeq() : telling.note->seq;
  return out;
}

BusNews bus_news(const Telling& telling) {
  const InboxNews news = local_news(telling);
  BusNews out;
  out.user = telling.note->user;
  for (const ToldRecord& record : telling.records) out.records.push_back(record.message);
  out.has_range = news.has_range;
  out.at = news.at;
  out.previous = *news.previous;
  out.first_seq = news.first_seq;
  out.seq = news.seq;
  return out;
}

}  // namespace

// To each node of the users concerned, once. The directory is asked after the notes are made.
Task<Status> SharedStore::tell(std::shared_ptr<Core> core, std::vector<Note> notes, std::vector<Noted> noted, TellWhat what) {
  std::vector<Telling> tellings(notes.size());
  for (std::size_t i = 0; i < notes.size(); ++i) {
    tellings[i] = {&notes[i], &noted[i], {}, what.redo || (what.noted_before && !noted[i].added)};
    if (tellings[i].bare) continue;
    if (const auto found = what.records.find(notes[i].conversation); found != what.records.end()) tellings[i].records = found->second;
  }
  CO_TRY_ASSIGN(const std::vector<std::vector<NodeId>> nodes, co_await core->directory.nodes_of(users_of(notes)));
  if (core->ended.load(std::memory_order_acquire)) co_return Error(ErrorCode::Cancelled);
  std::vector<InboxNews> here;
  std::map<NodeId, std::vector<BusNews>> elsewhere;
  for (std::size_t i = 0; i < tellings.size(); ++i) {
    here.push_back(local_news(tellings[i]));
    for (const NodeId& node : nodes[i]) {
      if (node != core->options.node) elsewhere[node].push_back(bus_news(tellings[i]));
    }
  }
  for (auto& [node, news] : elsewhere) core->bus.send(node, std::move(news));
  if (StoreListener* listener = core->listener.load(std::memory_order_acquire)) listener->on_records(here);
  co_return Status();
}

Task<void> SharedStore::note_loop(std::shared_ptr<Core> core, std::uint32_t number) {
  Bucket& bucket = core->buckets[number];
  while (true) {
    TellWhat what;
    {
      MutexLock lock(bucket.mutex);
      if (bucket.to_note.empty()) {
        bucket.noting = false;
        co_return;
      }
      for (StoredBatch& batch : bucket.to_note) {
        for (ToldRecord& record : batch) what.records[ConversationId(record.message->conversation())].push_back(std::move(record));
      }
      bucket.to_note.clear();
    }
    std::vector<Note> notes;
    for (const auto& [conversation, records] : what.records) {
      for (Note& note : notes_of(conversation, records.back().message->seq())) notes.push_back(std::move(note));
    }
    Result<std::vector<Noted>> noted = Error(ErrorCode::Internal);
    for (int attempt = 0; attempt < core->options.note_attempts && !noted.ok(); ++attempt) {
      noted = co_await core->engine.note(notes);
      if (core->ended.load(std::memory_order_acquire)) co_return;
      what.noted_before = what.noted_before || (!noted.ok() && noted.error().code() == ErrorCode::Timeout);
    }
    // What is not noted or told stays due: somebody's redo() does it.
    if (!noted.ok()) continue;
    std::vector<Due> done = done_of(notes, *noted);
    const Status told = co_await tell(core, std::move(notes), *std::move(noted), std::move(what));
    if (core->ended.load(std::memory_order_acquire)) co_return;
    if (!told.ok()) continue;
    MutexLock lock(bucket.mutex);
    if (bucket.noted.empty()) bucket.noted_since = core->clock.monotonic();
    bucket.noted.insert(bucket.noted.end(), std::make_move_iterator(done.begin()), std::make_move_iterator(done.end()));
  }
}

// The one who was to note may have done that, and gone before he told anybody: so everybody concerned is told how far his inbox goes.
Task<Status> SharedStore::redo(std::uint32_t from, std::uint32_t to) {
  const std::shared_ptr<Core> core = core_;
  constexpr std::size_t kMost = 256;
  for (std::uint32_t number = from; number < to; ++number) {
    CO_TRY_ASSIGN(std::vector<Due> due, co_await core->engine.due(number, core->options.redo_after, kMost));
    if (core->ended.load(std::memory_order_acquire)) co_return Error(ErrorCode::Cancelled);
    if (due.empty()) continue;
    std::vector<Note> notes;
    for (const Due& one : due) {
      for (Note& note : notes_of(one.conversation, one.seq)) notes.push_back(std::move(note));
    }
    CO_TRY_ASSIGN(std::vector<Noted> noted, co_await core->engine.note(notes));
    if (core->ended.load(std::memory_order_acquire)) co_return Error(ErrorCode::Cancelled);
    std::vector<Due> done = done_of(notes, noted);
    TellWhat what;
    what.redo = true;
    CO_TRY(co_await tell(core, std::move(notes), std::move(noted), std::move(what)));
    CO_TRY(co_await core->engine.clear_due(number, std::move(done)));
    if (core->ended.load(std::memory_order_acquire)) co_return Error(ErrorCode::Cancelled);
  }
  co_return Status();
}

void SharedStore::receive(std::vector<BusNews> news) {
  StoreListener* const listener = core_->listener.load(std::memory_order_acquire);
  if (listener == nullptr) return;
  std::vector<std::vector<ToldRecord>> records(news.size());
  std::vector<InboxNews> here;
  for (std::size_t i = 0; i < news.size(); ++i) {
    for (MessagePtr& message : news[i].records) records[i].push_back({std::move(message), 0});
    here.push_back({news[i].user.view(), records[i], news[i].has_range, news[i].at, news[i].previous, news[i].first_seq, news[i].seq});
  }
  listener->on_records(here);
}

}  // namespace dunlin::shared

// What a bucket has stored is noted in inboxes, told to nodes, and then due no more.
#include <algorithm>
#include <map>

#include "messaging/model/conversation.h"
#include "runtime/spawn.h"
#include "storage/shared/core.h"

namespace dunlin::shared {

// What one user is to be told of one conversation, kept as long as it takes.
struct SharedStore::Telling {
  Note note;
  std::vector<ToldRecord> records;  // what was just stored, ascending
  // A note before the one that added nothing may have added: then nobody was told the range, and he is told how far his inbox goes, and
  // nothing else (bare).
  bool may_be_noted = false;
  Noted noted;
};

namespace {

std::vector<UserId> users_of(const ConversationId& conversation) {
  const auto pair = parse_private(conversation.view());
  if (!pair) return {};
  std::vector<UserId> out{UserId(pair->first)};
  if (pair->second != pair->first) out.emplace_back(pair->second);
  return out;
}

// What need not be due any more: conversations of which every user is noted and told.
class Done {
 public:
  // Before anything else of it.
  void begin(const ConversationId& conversation, MessageSeq seq) { due_[conversation] = {conversation, seq, kAnyGeneration}; }
  void add(const Note& note, std::uint64_t generation) {
    if (const auto at = due_.find(note.conversation); at != due_.end()) at->second.generation = std::min(at->second.generation, generation);
  }
  void keep_due(const Note& note) { due_.erase(note.conversation); }
  std::vector<Due> take() {
    std::vector<Due> out;
    for (auto& [conversation, due] : due_) out.push_back(std::move(due));
    return out;
  }

 private:
  std::map<ConversationId, Due> due_;
};

template <class Telling>
std::vector<Note> notes_of(const std::vector<Telling>& tellings) {
  std::vector<Note> out;
  for (const Telling& telling : tellings) out.push_back(telling.note);
  return out;
}

// Those of which the note was made, with what it has added. The others stay, with the first error.
template <class Telling>
std::vector<Telling> take_noted(std::vector<Telling>& tellings, std::vector<Result<Noted>> results, Status& failed) {
  CHECK(results.size() == tellings.size());
  std::vector<Telling> out;
  std::vector<Telling> again;
  for (std::size_t i = 0; i < results.size(); ++i) {
    if (results[i].ok()) {
      tellings[i].noted = *std::move(results[i]);
      out.push_back(std::move(tellings[i]));
      continue;
    }
    tellings[i].may_be_noted = tellings[i].may_be_noted || leaves_open(results[i].error());
    again.push_back(std::move(tellings[i]));
    if (failed.ok()) failed = std::move(results[i]).error();
  }
  tellings = std::move(again);
  return out;
}

template <class Telling>
InboxNews local_news(const Telling& telling) {
  const bool bare = telling.may_be_noted && !telling.noted.added;
  InboxNews out;
  out.user = telling.note.user.view();
  if (!bare) out.records = telling.records;
  out.has_range = bare || telling.noted.added;
  out.at = telling.noted.newest;
  out.previous = telling.noted.previous;
  out.first_seq = telling.noted.first_seq;
  out.seq = bare ? MessageSeq() : telling.note.seq;
  return out;
}

template <class Telling>
BusNews bus_news(const Telling& telling) {
  const InboxNews news = local_news(telling);
  BusNews out;
  out.user = telling.note.user;
  for (const ToldRecord& record : news.records) out.records.push_back(record.message);
  out.has_range = news.has_range;
  out.at = news.at;
  out.previous = *news.previous;
  out.first_seq = news.first_seq;
  out.seq = news.seq;
  return out;
}

}  // namespace

// Here at once; to each other node of the users concerned, once. The directory is asked after the notes are made.
Task<Status> SharedStore::tell(std::shared_ptr<Core> core, std::vector<Telling> tellings) {
  std::vector<InboxNews> here;
  std::vector<UserId> users;
  for (const Telling& telling : tellings) {
    here.push_back(local_news(telling));
    users.push_back(telling.note.user);
  }
  core->call_listener([&](StoreListener& to) { to.on_records(here); });
  CO_TRY_ASSIGN(const std::vector<std::vector<NodeId>> nodes, co_await core->directory.nodes_of(std::move(users)));
  if (core->is_over()) co_return Error(ErrorCode::Cancelled);
  CHECK(nodes.size() == tellings.size());
  std::map<NodeId, std::vector<BusNews>> elsewhere;
  for (std::size_t i = 0; i < tellings.size(); ++i) {
    for (const NodeId& node : nodes[i]) {
      if (node != core->options.node) elsewhere[node].push_back(bus_news(tellings[i]));
    }
  }
  for (auto& [node, news] : elsewhere) core->bus.send(node, std::move(news));
  co_return Status();
}

Task<void> SharedStore::note_loop(std::shared_ptr<Core> core, std::uint32_t number) {
  Bucket& bucket = core->buckets[number];
  while (!core->is_over()) {
    std::map<ConversationId, std::vector<ToldRecord>> stored;
    std::size_t records = 0;
    std::size_t bytes = 0;
    {
      MutexLock lock(bucket.mutex);
      if (bucket.to_note.empty()) {
        bucket.noting = false;
        co_return;
      }
      for (StoredBatch& batch : std::exchange(bucket.to_note, {})) {
        records += batch.size();
        for (ToldRecord& record : batch) {
          bytes += record.message->footprint();
          stored[ConversationId(record.message->conversation())].push_back(std::move(record));
        }
      }
    }
    Done done;
    std::vector<Telling> tellings;
    for (const auto& [conversation, all] : stored) {
      const MessageSeq seq = all.back().message->seq();
      done.begin(conversation, seq);
      for (UserId& user : users_of(conversation)) tellings.push_back({{std::move(user), conversation, seq}, all, false, {}});
    }
    stored.clear();
    Backoff backoff;
    for (int attempt = 1; !tellings.empty() && attempt <= core->options.note_attempts; ++attempt) {
      if (attempt > 1) ignore(co_await core->pause(backoff.take()));
      if (core->is_over()) co_return;
      std::vector<Result<Noted>> results = co_await core->engine.note(notes_of(tellings));
      if (core->is_over()) co_return;
      Status failed;
      std::vector<Telling> noted = take_noted(tellings, std::move(results), failed);
      if (noted.empty()) continue;
      for (const Telling& one : noted) done.add(one.note, one.noted.generation);
      const std::vector<Note> told = notes_of(noted);
      const Status status = co_await tell(core, std::move(noted));
      if (core->is_over()) co_return;
      if (status.ok()) continue;
      for (const Note& note : told) done.keep_due(note);
    }
    // What is not noted or told stays due: somebody's redo() does it.
    for (const Telling& left : tellings) done.keep_due(left.note);
    core->held_bytes.fetch_sub(bytes);
    std::vector<Due> cleared = done.take();
    MutexLock lock(bucket.mutex);
    bucket.unnoted -= records;
    if (bucket.noted.empty()) bucket.noted_since = core->clock.monotonic();
    bucket.noted.insert(bucket.noted.end(), std::make_move_iterator(cleared.begin()), std::make_move_iterator(cleared.end()));
  }
}

// The one who was to note may have done that, and gone before he told anybody: so everybody concerned is told how far his inbox goes, and
// nothing else. The first error, of those who did not get it.
Task<Status> SharedStore::redo_bucket(std::shared_ptr<Core> core, std::uint32_t number) {
  constexpr std::size_t kMost = 256;
  Status failed;
  for (ConversationId after;;) {
    CO_TRY_ASSIGN(std::vector<Due> due, co_await core->engine.due(number, core->options.redo_after, after, kMost));
    if (core->is_over()) co_return Error(ErrorCode::Cancelled);
    if (due.empty()) co_return failed;
    const bool last = due.size() < kMost;
    after = due.back().conversation;
    Done done;
    std::vector<Telling> tellings;
    for (const Due& one : due) {
      done.begin(one.conversation, one.seq);
      for (UserId& user : users_of(one.conversation)) tellings.push_back({{std::move(user), one.conversation, one.seq}, {}, true, {}});
    }
    std::vector<Result<Noted>> results = co_await core->engine.note(notes_of(tellings));
    if (core->is_over()) co_return Error(ErrorCode::Cancelled);
    std::vector<Telling> noted = take_noted(tellings, std::move(results), failed);
    for (Telling& one : noted) {
      done.add(one.note, one.noted.generation);
      one.noted.added = false;
    }
    for (const Telling& left : tellings) done.keep_due(left.note);
    CO_TRY(co_await tell(core, std::move(noted)));
    if (core->is_over()) co_return Error(ErrorCode::Cancelled);
    CO_TRY(co_await core->engine.clear_due(number, done.take()));
    if (core->is_over()) co_return Error(ErrorCode::Cancelled);
    if (last) co_return failed;
  }
}

Task<Status> SharedStore::redo(std::uint32_t from, std::uint32_t to) {
  const std::shared_ptr<Core> core = core_;
  Status failed;
  for (std::uint32_t number = from; number < to; ++number) {
    Bucket& bucket = core->buckets[number];
    {
      MutexLock lock(bucket.mutex);
      if (core->clock.monotonic() < bucket.redo_from) continue;
    }
    const Status done = co_await redo_bucket(core, number);
    if (core->is_over()) co_return Error(ErrorCode::Cancelled);
    MutexLock lock(bucket.mutex);
    if (done.ok()) {
      bucket.redo_pause = kRedoPause;
    } else {
      bucket.redo_from = core->clock.monotonic() + bucket.redo_pause.take();
      if (failed.ok()) failed = done;
    }
  }
  co_return failed;
}

void SharedStore::receive(std::vector<BusNews> news) {
  std::vector<std::vector<ToldRecord>> records(news.size());
  std::vector<InboxNews> here;
  for (std::size_t i = 0; i < news.size(); ++i) {
    for (MessagePtr& message : news[i].records) records[i].push_back({std::move(message), 0});
    here.push_back({news[i].user.view(), records[i], news[i].has_range, news[i].at, news[i].previous, news[i].first_seq, news[i].seq});
  }
  core_->call_listener([&](StoreListener& to) { to.on_records(here); });
}

}  // namespace dunlin::shared

#include "storage/memory/testing/shared_engine.h"

#include <algorithm>
#include <utility>

#include "runtime/completion.h"

namespace dunlin {

SharedEngine::SharedEngine(SharedEngineOptions options)
    : options_(options),
      epoch_{SipKey::random().low | 1},
      rows_(options.durability),
      random_(options.seed),
      refused_(options.refused),
      unanswered_(options.unanswered),
      lost_(options.lost),
      repeated_(options.repeated) {
  CHECK(options_.clock != nullptr);
  for (int i = 0; i < options_.threads; ++i) threads_.emplace_back([this] { work(); });
}

void SharedEngine::stop() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

std::unique_ptr<SharedEngine::Connection> SharedEngine::connect() {
  MutexLock lock(mutex_);
  return std::make_unique<Connection>(*this, ++connections_);
}

// -- calls

bool SharedEngine::chance(double share) {
  return share > 0 && std::uniform_real_distribution<>(0, 1)(random_) < share;
}

SharedEngine::Fate SharedEngine::draw(bool writes) {
  if (chance(refused_)) return Fate::Refused;
  if (writes && chance(unanswered_)) return Fate::Unanswered;
  if (writes && chance(lost_)) return Fate::Lost;
  return Fate::Answered;
}

// `work` runs on the rows, in one step.
template <class T, class F>
Task<Result<T>> SharedEngine::call(std::uint64_t connection, Kind kind, F work) {
  {
    MutexLock lock(mutex_);
    if (gone_.contains(connection)) co_return Error(ErrorCode::Cancelled, "the node is gone");
  }
  auto [completer, completion] = make_completion<T>();
  auto shared = std::make_shared<Completer<T>>(std::move(completer));
  Job job;
  job.connection = connection;
  job.run = [this, kind, work = std::move(work), shared](bool cut) {
    std::optional<Result<T>> answer;
    {
      MutexLock lock(mutex_);
      Fate fate = draw(kind == Kind::Write);
      if (cut) fate = kind != Kind::Read && chance(0.5) ? Fate::Unanswered : Fate::Lost;
      if (fate == Fate::Answered || fate == Fate::Unanswered) answer = work(rows_);
      if (fate == Fate::Refused) answer = Error(ErrorCode::StoreUnavailable, "a fault for tests");
      if (fate == Fate::Unanswered || fate == Fate::Lost) answer = Error(ErrorCode::Timeout, "a fault for tests");
    }
    if (!cut) shared->complete(*std::move(answer));
  };
  shared.reset();
  enqueue(std::move(job));
  co_return co_await std::move(completion);
}

template <class F>
void SharedEngine::do_late(F work) {
  Job late;
  late.run = [this, work = std::move(work)](bool) {
    MutexLock lock(mutex_);
    static_cast<void>(work(rows_));
  };
  enqueue(std::move(late));
}

void SharedEngine::enqueue(Job job) {
  if (options_.threads == 0 && options_.delay.count() == 0) return job.run(false);
  MutexLock lock(mutex_);
  if (options_.threads == 0) {
    job.due =
        options_.clock->monotonic() + Milliseconds(std::uniform_int_distribution<Milliseconds::rep>(0, options_.delay.count())(random_));
  }
  jobs_.push_back(std::move(job));
  changed_.notify_one();
}

void SharedEngine::work() {
  while (true) {
    Job job;
    {
      MutexLock lock(mutex_);
      while (jobs_.empty() && !stopping_) changed_.wait(mutex_);
      if (jobs_.empty()) return;
      const std::size_t any = random_() % jobs_.size();
      job = std::move(jobs_[any]);
      jobs_.erase(jobs_.begin() + static_cast<std::ptrdiff_t>(any));
    }
    job.run(false);
  }
}

std::vector<SharedEngine::Job> SharedEngine::take_due(bool all_of_one, std::uint64_t connection) {
  MutexLock lock(mutex_);
  std::vector<Job> due;
  std::vector<Job> later;
  const MonotonicTime now = options_.clock->monotonic();
  for (Job& job : jobs_) {
    const bool take = all_of_one ? job.connection == connection : job.due <= now;
    (take ? due : later).push_back(std::move(job));
  }
  jobs_ = std::move(later);
  return due;
}

bool SharedEngine::pump() {
  std::vector<Job> due = take_due(false, 0);
  std::ranges::stable_sort(due, {}, &Job::due);
  for (Job& job : due) job.run(false);
  return !due.empty();
}

bool SharedEngine::pump_one() {
  Job next;
  {
    MutexLock lock(mutex_);
    if (jobs_.empty()) return false;
    const auto first = std::ranges::min_element(jobs_, {}, &Job::due);
    next = std::move(*first);
    jobs_.erase(first);
  }
  next.run(false);
  return true;
}

std::optional<MonotonicTime> SharedEngine::next_due() const {
  MutexLock lock(mutex_);
  std::optional<MonotonicTime> next;
  for (const Job& job : jobs_) next = next ? std::min(*next, job.due) : job.due;
  return next;
}

void SharedEngine::set_faults(double refused, double unanswered, double lost, double repeated) {
  MutexLock lock(mutex_);
  refused_ = refused;
  unanswered_ = unanswered;
  lost_ = lost;
  repeated_ = repeated;
}

void SharedEngine::trim() {
  MutexLock lock(mutex_);
  rows_.trim();
}

void SharedEngine::lose_tails(std::uint64_t most) {
  MutexLock lock(mutex_);
  rows_.lose_tails(random_, most);
}

void SharedEngine::stand_at(InboxPosition position) {
  MutexLock lock(mutex_);
  rows_.stand_at(position);
}

InboxPosition SharedEngine::newest(const UserId& user) const {
  MutexLock lock(mutex_);
  return rows_.newest(user.view());
}

void SharedEngine::on_stored(std::function<void(const Message&)> run) {
  MutexLock lock(mutex_);
  rows_.on_stored = std::move(run);
}

InboxPosition SharedEngine::highest_given(const UserId& user) const {
  MutexLock lock(mutex_);
  return rows_.highest_given(user.view());
}

MessageSeq SharedEngine::seq_at(const UserId& user, const ConversationId& conversation, InboxPosition position) const {
  MutexLock lock(mutex_);
  return rows_.seq_at(user, conversation, position);
}

MessageSeq SharedEngine::first_readable(const ConversationId& conversation) const {
  MutexLock lock(mutex_);
  return rows_.head(conversation).first_readable;
}

bool SharedEngine::any_due() const {
  MutexLock lock(mutex_);
  return rows_.any_due();
}

// -- a node's way to it

void SharedEngine::Connection::cut() {
  {
    MutexLock lock(engine_.mutex_);
    engine_.gone_.insert(number_);
  }
  // Who waits is told that it is over when the jobs go, outside of the lock.
  for (Job& job : engine_.take_due(true, number_)) job.run(true);
}

Task<Result<std::vector<shared::Appended>>> SharedEngine::Connection::append(shared::Append batch) {
  if (engine_.refusing_.load()) co_return Error(ErrorCode::StoreUnavailable, "appends are refused (a fault for tests)");
  SharedEngine* const engine = &engine_;  // this may be gone when it is answered
  bool again = false;
  {
    MutexLock lock(engine->mutex_);
    again = engine->chance(engine->repeated_);
  }
  const auto store = [engine, batch = std::move(batch)](SharedRows& rows) {
    const auto now_ms = static_cast<std::uint64_t>(to_ms(engine->options_.clock->wall()));
    const auto keep_ms = static_cast<std::uint64_t>(Milliseconds(engine->options_.ids_for).count());
    rows.forget_old_ids(now_ms - std::min(now_ms, keep_ms));
    return rows.append(batch, now_ms);
  };
  auto done = engine->call<std::vector<shared::Appended>>(number_, Kind::Write, store);
  auto appended = co_await std::move(done);
  if (again && (appended.ok() || appended.error().code() == ErrorCode::Timeout)) engine->do_late(store);
  co_return appended;
}

// Half of the calls are answered or not as a whole, of the others each note by itself.
Task<std::vector<Result<shared::Noted>>> SharedEngine::Connection::note(std::vector<shared::Note> notes) {
  SharedEngine* const engine = &engine_;  // this may be gone when it is answered
  const bool may_stay_open = !engine->options_.notes_are_answered;
  const std::size_t count = notes.size();
  bool again = false;
  bool whole = true;
  std::vector<Fate> fates(count, Fate::Answered);
  {
    MutexLock lock(engine->mutex_);
    again = engine->chance(engine->repeated_);
    whole = engine->chance(0.5);
    if (!whole) {
      for (Fate& fate : fates) fate = engine->draw(may_stay_open);
    }
  }
  const auto note_all = [notes = std::move(notes), fates = std::move(fates)](SharedRows& rows) {
    std::vector<Result<shared::Noted>> out;
    for (std::size_t i = 0; i < notes.size(); ++i) {
      const bool done = fates[i] == Fate::Answered || fates[i] == Fate::Unanswered;
      const shared::Noted noted = done ? rows.note(notes[i]) : shared::Noted();
      if (fates[i] == Fate::Answered) {
        out.emplace_back(noted);
      } else {
        out.emplace_back(Error(fates[i] == Fate::Refused ? ErrorCode::StoreUnavailable : ErrorCode::Timeout, "a fault for tests"));
      }
    }
    return out;
  };
  auto done =
      engine->call<std::vector<Result<shared::Noted>>>(number_, whole && may_stay_open ? Kind::Write : Kind::AnsweredWrite, note_all);
  auto noted = co_await std::move(done);
  if (again && noted.ok()) engine->do_late(note_all);
  if (noted.ok()) co_return *std::move(noted);
  std::vector<Result<shared::Noted>> failed(count, noted.error());
  co_return failed;
}

Task<Result<std::vector<shared::Due>>> SharedEngine::Connection::due(std::uint32_t bucket, Milliseconds at_least, ConversationId after,
                                                                     std::size_t limit) {
  const auto before = static_cast<std::uint64_t>(std::max<std::int64_t>(to_ms(engine_.options_.clock->wall() - at_least), 0));
  return engine_.call<std::vector<shared::Due>>(number_, Kind::Read, [bucket, before, after = std::move(after), limit](SharedRows& rows) {
    return rows.due(bucket, before, after, limit);
  });
}

Task<Status> SharedEngine::Connection::clear_due(std::uint32_t bucket, std::vector<shared::Due> noted) {
  auto done = engine_.call<bool>(number_, Kind::Write, [bucket, noted = std::move(noted)](SharedRows& rows) {
    rows.clear_due(bucket, noted);
    return true;
  });
  CO_TRY(co_await std::move(done));
  co_return Status();
}

Task<Result<bool>> SharedEngine::Connection::renew_epoch(Epoch ended) {
  std::uint64_t expected = ended.value;
  co_return engine_.epoch_.compare_exchange_strong(expected, SipKey::random().low | 1);
}

Task<Result<ConversationHead>> SharedEngine::Connection::head(ConversationId conversation) {
  return engine_.call<ConversationHead>(number_, Kind::Read, [id = std::move(conversation)](SharedRows& rows) { return rows.head(id); });
}

Task<Result<std::vector<RangePage>>> SharedEngine::Connection::ranges(std::vector<RangeQuery> queries) {
  return engine_.call<std::vector<RangePage>>(number_, Kind::Read, [queries = std::move(queries)](SharedRows& rows) {
    std::vector<RangePage> out;
    for (const RangeQuery& query : queries) out.push_back(rows.range(query));
    return out;
  });
}

Task<Result<std::vector<TimelineEnd>>> SharedEngine::Connection::ends(std::vector<ConversationId> conversations, std::size_t max_bytes) {
  return engine_.call<std::vector<TimelineEnd>>(number_, Kind::Read, [all = std::move(conversations), max_bytes](SharedRows& rows) {
    std::vector<TimelineEnd> out;
    for (std::size_t bytes = 0; out.size() < all.size() && (out.empty() || bytes < max_bytes);) {
      const ConversationId& conversation = all[out.size()];
      const ConversationHead head = rows.head(conversation);
      const RangePage page = rows.range({conversation, head.last_seq, head.last_seq, 1, 1, false});
      out.push_back({head, page.messages.empty() ? MessagePtr() : page.messages.front()});
      if (out.back().last) bytes += out.back().last->footprint();
    }
    return out;
  });
}

Task<Status> SharedEngine::Connection::recall(ConversationId conversation, MessageSeq seq) {
  // Whoever recalls has to repeat what was left open: answered, so that each test need not.
  auto done = engine_.call<bool>(number_, Kind::AnsweredWrite,
                                 [id = std::move(conversation), seq](SharedRows& rows) { return rows.recall(id, seq); });
  CO_TRY_ASSIGN(const bool found, co_await std::move(done));
  if (!found) co_return Error(ErrorCode::NotFound, "the conversation has no such message");
  co_return Status();
}

Task<Result<InboxPosition>> SharedEngine::Connection::newest(UserId user) {
  return engine_.call<InboxPosition>(number_, Kind::Read, [user = std::move(user)](SharedRows& rows) { return rows.newest(user.view()); });
}

Task<Result<NewsPage>> SharedEngine::Connection::news_since(NewsQuery query) {
  return engine_.call<NewsPage>(number_, Kind::Read, [query = std::move(query)](SharedRows& rows) { return rows.news_since(query); });
}

Task<Result<InboxPage>> SharedEngine::Connection::newest_entries(UserId user, InboxPosition from, std::size_t limit) {
  return engine_.call<InboxPage>(
      number_, Kind::Read, [user = std::move(user), from, limit](SharedRows& rows) { return rows.newest_entries(user, from, limit); });
}

Task<Result<std::vector<MessageSeq>>> SharedEngine::Connection::seqs_at(std::vector<SeqQuery> queries) {
  return engine_.call<std::vector<MessageSeq>>(number_, Kind::Read, [queries = std::move(queries)](SharedRows& rows) {
    std::vector<MessageSeq> out;
    for (const SeqQuery& query : queries) out.push_back(rows.seq_at(query.user, query.conversation, query.position));
    return out;
  });
}

Task<Result<ConversationsPage>> SharedEngine::Connection::conversations(UserId user, ConversationId after, std::size_t limit) {
  return engine_.call<ConversationsPage>(number_, Kind::Read, [user = std::move(user), after = std::move(after), limit](SharedRows& rows) {
    return rows.conversations(user, after, limit);
  });
}

InboxPosition SharedEngine::Connection::trimmed_through(std::string_view user) const {
  if (!engine_.options_.knows_trims) return InboxPosition();
  MutexLock lock(engine_.mutex_);
  return engine_.rows_.trimmed_through(user);
}

Task<Result<InboxPosition>> SharedEngine::Connection::highest_given(UserId user) {
  return engine_.call<InboxPosition>(number_, Kind::Read,
                                     [user = std::move(user)](SharedRows& rows) { return rows.highest_given(user.view()); });
}

}  // namespace dunlin

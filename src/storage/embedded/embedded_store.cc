#include "storage/embedded/embedded_store.h"

#include <algorithm>
#include <thread>

#include "base/log.h"
#include "base/memory_limit.h"
#include "storage/embedded/bulk_reads.h"
#include "storage/embedded/file/owner_only.h"
#include "storage/embedded/file/space_reserve.h"
#include "storage/embedded/store_parts.h"
#include "storage/embedded/weak_acks.h"

namespace dunlin::embedded {
namespace {

// The share of the window up to which ingested parts stay. The rest is room for what waits while they leave.
constexpr std::uint64_t kKeep = 3;
constexpr std::uint64_t kKeepOf = 4;
// How long the indexer waits for a committer that is in the middle of something, before it does other work.
constexpr std::chrono::milliseconds kShortWait{200};

// With memory for all of it, 1 GiB or more, everything keeps its size; with less the parts are about two fifths of it together. The rest is
// for connections, for a segment on its way into history, and for the program itself.
void fit_into_memory(EmbeddedOptions& options) {
  const std::uint64_t memory = options.memory_bytes;
  const auto at_most = [&](auto& bytes, std::uint64_t part) { bytes = std::min<std::uint64_t>(bytes, memory / part); };
  if (options.window_bytes == 0) options.window_bytes = std::min<std::uint64_t>(128ULL << 20, memory / 8);
  at_most(options.head_cache_bytes, 16);
  at_most(options.block_cache_bytes, 16);
  at_most(options.state_cache_bytes, 64);
  at_most(options.state_write_buffer_bytes, 64);
  options.queue_bytes = std::min(options.queue_bytes, std::max(memory / 16, options.segment_bytes / 4));  // which is one message at most
}

}  // namespace

Result<std::unique_ptr<EmbeddedStore>> EmbeddedStore::open(EmbeddedOptions options) {
  auto store = std::make_unique<StoreParts>(std::move(options));
  TRY(store->start());
  return std::unique_ptr<EmbeddedStore>(std::move(store));
}

StoreParts::StoreParts(EmbeddedOptions options) : options_(std::move(options)) {
  if (options_.clock == nullptr) options_.clock = &system_clock_;
  files_ = options_.file_system != nullptr ? options_.file_system : &posix_file_system();
  if (options_.memory_bytes == 0) options_.memory_bytes = memory_limit().bytes;
  fit_into_memory(options_);
  // A record takes about as much in the window as in the log, so one bound holds for both.
  options_.window_bytes = std::min(options_.window_bytes, options_.backlog_bytes);
}

StoreParts::~StoreParts() {
  close();
  if (!indexer_) return;
  wait_for_reads();  // sends that came while close() began may still be looked up
  committer_->stop();
}

Status StoreParts::start() {
  CHECK(options_.offload != nullptr);
  // The lock and the two databases are the operating system's even in tests, which run the log alone on the faulty file system.
  TRY(posix_file_system().make_folder(options_.path));
  TRY(files_->make_folder(options_.path));
  TRY_ASSIGN(lock_, DataLock::acquire(options_.path));
  keep_to_owner(options_.path);
  give_reserve(options_.path);
  TRY(open_meta());
  TRY(open_history());
  TRY(recover());
  take_reserve(options_.path);
  start_threads();
  return {};
}

Status StoreParts::open_meta() {
  TRY_ASSIGN(const auto found, read_meta(*files_, options_.path));
  if (found) {
    meta_ = *found;
    return {};
  }
  TRY_ASSIGN(const auto log, files_->list(options_.path + "/log"));
  TRY_ASSIGN(const auto history, posix_file_system().list(options_.path + "/history"));
  TRY_ASSIGN(const auto state, posix_file_system().list(options_.path + "/state"));
  // A start that was cut short before its meta file leaves an empty log folder, and nothing that could be lost.
  if (!history.empty() || !state.empty() ||
      std::any_of(log.begin(), log.end(), [](const std::string& name) { return name.ends_with(".seg"); })) {
    return Error(ErrorCode::Corrupt, "data folder " + options_.path + " has no meta file; `dunlin restore` makes one from a backup");
  }
  fresh_ = true;
  meta_ = Meta::create();
  return write_meta(*files_, options_.path, meta_);
}

Status StoreParts::open_history() {
  HistoryOptions history;
  history.path = options_.path + "/history";
  history.volume_span = options_.volume_span;
  history.volume_bytes = options_.volume_bytes;
  history.retention = options_.retention;
  history.retention_bytes = options_.retention_bytes;
  history.block_cache_bytes = options_.block_cache_bytes;
  history.clock = options_.clock;
  history.fault_point = options_.fault_point;
  if (options_.open_history) {
    TRY_ASSIGN(history_, options_.open_history(std::move(history)));
  } else {
    TRY_ASSIGN(history_, History::open(std::move(history)));
  }
  TRY_ASSIGN(state_, EmbeddedStateStore::open({.path = options_.path + "/state",
                                               .offload = options_.offload,
                                               .raises = &read_raises_,
                                               .block_cache_bytes = options_.state_cache_bytes,
                                               .write_buffer_bytes = options_.state_write_buffer_bytes,
                                               .clock = options_.clock}));
  return {};
}

// What is written beside the log knows of records that it does not have: the log was put back, or has lost its end without a trace. All of
// it was written when those records were there for good, so there is no other way to that.
bool StoreParts::lags_behind_what_was_told(LogPosition last) const {
  const LogPosition known = std::max(to_log(state_->highest_cursor(meta_.epoch)), followers_->farthest());
  if (known <= last) return false;
  log_error("store",
            "the log ends before records that devices or followers have had: it was put back to an earlier state, or has lost its end",
            {{"found_through", last.value()}, {"known_through", known.value()}, {"remedy", "dunlin restore, if they must come back"}});
  return true;
}

Status StoreParts::recover() {
  const std::string folder = options_.path + "/log";
  TRY(files_->make_folder(folder));
  TRY(files_->sync_folder(options_.path));
  pool_ = std::make_unique<SegmentPool>(*files_, folder, options_.segment_bytes);
  conversations_ = std::make_unique<Conversations>(options_.head_cache_bytes);
  const std::uint64_t keep_bytes = options_.keep_recent ? options_.window_bytes / kKeepOf * kKeep : 0;
  window_ = std::make_unique<Window>(*conversations_, history_->position(), keep_bytes);
  intake_ = std::make_unique<Intake>(IntakeOptions{meta_.dedup_secret, options_.queue_bytes, options_.dedup_hash}, *conversations_,
                                     sessions_, *window_, *history_, *options_.offload, queue_);
  TRY_ASSIGN(followers_, Followers::open(*files_, options_.path, meta_.epoch));
  const bool weak_end = !meta_.clean && meta_.weak_acks;
  TRY_ASSIGN(const bool weak_acks_gone, weak_acks_may_be_gone(*files_, options_.path, meta_));
  kept_ = std::make_unique<KeptLog>(*files_, *pool_, meta_.log_secret);
  Recovery recovery(*files_, *conversations_, *window_, *intake_, *history_, *pool_);
  recovery.take_cursors = [this](std::string_view bytes) { state_->riders().read_back(bytes); };
  TRY_ASSIGN(const Recovered found, recovery.run(options_.path, meta_.log_secret, followers_->passed()));
  for (const KeptSegment& segment : found.kept) kept_->add(segment);
  // On a full disk sends are refused, and the indexer makes spares as soon as there is space.
  if (const Status made = pool_->make_first(); !made.ok()) {
    if (made.error().code() != ErrorCode::NoSpace) return made;
    log_warn("store", "no segment for the log could be made", {{"error", made.error().to_string()}});
  }

  // Records that a clean stop left behind and nobody finds: the newest file is gone, say.
  const std::uint64_t missing = meta_.clean && found.scan.last < meta_.end ? meta_.end.value() - found.scan.last.value() : 0;
  if (missing != 0) {
    log_error("store", "the end of the log that the last stop noted is not there: its files are gone or older ones were put back",
              {{"records", missing}, {"found_through", found.scan.last.value()}, {"remedy", "dunlin restore, if they must come back"}});
  }
  report_.records = found.scan.records;
  report_.corrupt_records = found.scan.lost + found.scan.unknown + missing;
  report_.cut_bytes = found.scan.tail ? found.scan.tail->bytes.size() : 0;
  // Seqs may be given again: acks below fsync may have been lost, or records whose conversation nobody knows.
  report_.epoch_renewed =
      weak_acks_gone || (weak_end && found.scan.broken_off) || found.scan.unknown != 0 || found.unnamed != 0 || missing != 0;
  report_.epoch_renewed = report_.epoch_renewed || lags_behind_what_was_told(found.scan.last);
  const bool changed = meta_.clean || meta_.weak_acks || report_.epoch_renewed;
  if (report_.epoch_renewed) {
    meta_.epoch = Meta::create().epoch;
    log_warn("store", "seqs may have been lost: a new epoch begins", {{"epoch", meta_.epoch.text()}});
  }
  meta_.clean = meta_.weak_acks = false;
  meta_.acked_in.reset();
  if (changed) TRY(write_meta(*files_, options_.path, meta_));
  if (report_.epoch_renewed) {
    TRY_ASSIGN(followers_, Followers::open(*files_, options_.path, meta_.epoch));  // marks them reset
  }
  epoch_.store(meta_.epoch.value, std::memory_order_release);
  run_ = {SipKey::random().low >> 16 | 1, std::max(found.scan.last, window_->published())};
  if (found.scan.records != 0) log_info("store", "log recovered", {{"records", found.scan.records}, {"last", found.scan.last.value()}});

  // Where that fails (a full disk) the older rows are as true; what they miss is pushed again.
  const auto cursors = state_->take_back_cursors(meta_.epoch);
  if (!cursors.ok()) log_warn("store", "cursors in the log could not be taken into the state", {{"error", cursors.error().to_string()}});
  if (cursors.ok() && *cursors != 0) log_info("store", "cursors taken from the log", {{"devices", *cursors}});

  const LogWriter::Start at{meta_.log_secret, found.scan.last_generation, found.scan.end, found.scan.last};
  writer_ = std::make_unique<LogWriter>(*pool_, at);
  CommitterOptions committer;
  committer.clock = options_.clock;
  committer.window_bytes = options_.window_bytes;
  committer.heal_every = options_.heal_every;
  committer.on_batch = options_.on_batch;
  committer.take_cursors = [this](LogPosition last, std::size_t budget, std::string& out) { state_->riders().take(last, budget, out); };
  committer.before_weak_ack = [this](Durability level) { return note_weak_acks(*files_, options_.path, level, meta_); };
  committer_ = std::make_unique<Committer>(std::move(committer), *window_, sessions_, *intake_, queue_, *writer_, found.scan.last,
                                           found.last_conversation_number);
  recalls_ = std::make_unique<Recalls>(*state_, *options_.clock, options_.recalls_max);
  TRY(recalls_->load(found.scan.last));
  reader_ = std::make_unique<TimelineReader>(*conversations_, *window_, *history_, *intake_, *kept_, *recalls_);
  unused_files_ = found.unused;
  if (report_.epoch_renewed) lower_read_positions();
  return {};
}

// Else what is written under seqs that were read before would count as read. What fails costs a wrong count of unread messages, no message.
void StoreParts::lower_read_positions() {
  const auto lowered = state_->lower_read_positions(to_inbox(run_.began_at), [this](const ConversationId& id) -> Result<MessageSeq> {
    TRY_ASSIGN(const ConversationHead head, reader_->head(id));
    return head.last_seq;
  });
  if (!lowered.ok())
    return log_warn("store", "read positions may be ahead of their conversations", {{"error", lowered.error().to_string()}});
  if (*lowered > 0) log_warn("store", "read positions were ahead of their conversations", {{"lowered", *lowered}});
}

void StoreParts::start_threads() {
  RecallRoundsOptions recalls;
  recalls.log.clock = options_.clock;
  recalls.log.every = options_.recall_every;
  recalls.log.secret = meta_.log_secret;
  recalls.log.between_batches = [this](const std::function<void()>& job) { return committer_->run_between_batches(job, kShortWait); };
  recalls.log.seal = [this] { return writer_->seal(); };
  recalls.rewrite_every = options_.recall_rewrite_every;
  recall_rounds_ = std::make_unique<RecallRounds>(std::move(recalls), *files_, *pool_, *kept_, *window_, *history_, *recalls_);
  IndexerOptions indexer;
  indexer.clock = options_.clock;
  indexer.data_folder = options_.path;
  indexer.window_bytes = options_.window_bytes;
  indexer.kept_bytes = options_.kept_bytes;
  indexer.retain_every = options_.retain_every;
  indexer.reserve_fraction = options_.reserve_fraction;
  indexer.reserve_bytes_max = options_.reserve_bytes_max;
  indexer.ingest = options_.start_indexer;
  indexer.sync_state = [this] { return state_->sync(); };
  indexer.keep_cursors = [this](LogPosition through) { return state_->keep_cursors(through); };
  indexer.fault_point = options_.fault_point;
  indexer_ = std::make_unique<Indexer>(std::move(indexer), *files_, *history_,
                                       Indexer::Log{*window_, *pool_, *kept_, *followers_, queue_, *committer_, *recall_rounds_});
  for (const std::string& file : unused_files_) indexer_->recycle(file);
  writer_->on_seal = [this](const LogWriter::Sealed& sealed) {
    if (options_.fault_point) options_.fault_point("seal");
    if (!window_->seal(sealed.file)) indexer_->recycle(sealed.file);
    indexer_->notify();
  };
  indexer_->check_space();
  indexer_->start();
  committer_->start();
}

void StoreParts::append(std::span<AppendRequest> requests) {
  // One that passes here while close() begins is stored before the end mark, or refused by the committer behind it.
  if (closing_.load(std::memory_order_acquire)) return intake_->refuse_late(requests);
  intake_->append(requests);
}

Task<void> StoreParts::end_session(SessionKey session) {
  auto [completer, completion] = make_completion<void>();
  intake_->end_session(session, std::move(completer));
  ignore(co_await std::move(completion));
}

Task<Result<bool>> StoreParts::renew_epoch(Epoch ended) {
  return on_disk([this, ended] { return renew_now(ended); });
}

Result<bool> StoreParts::renew_now(Epoch ended) {
  Meta next;
  Status written;
  // The committer changes the meta file too.
  TRY(committer_->run_between_batches([&] {
    if (meta_.epoch != ended) return;
    next = meta_;
    next.epoch = Meta::create().epoch;
    written = write_meta(*files_, options_.path, next);
    if (!written.ok()) return;
    meta_ = next;
    epoch_.store(next.epoch.value, std::memory_order_release);
  }));
  TRY(std::move(written));
  if (next.epoch == Epoch{}) return false;
  if (const Status marked = followers_->begin_epoch(next.epoch); !marked.ok()) {
    log_warn("store", "followers are reset in memory only, until the next start", {{"error", marked.error().to_string()}});
  }
  return true;
}

Task<Status> StoreParts::recall(ConversationId conversation, MessageSeq seq) {
  return on_disk([this, id = std::move(conversation), seq] { return recall_now(id, seq); });
}

Status StoreParts::recall_now(const ConversationId& conversation, MessageSeq seq) {
  TRY_ASSIGN(const ConversationHead head, reader_->head(conversation));
  if (seq == MessageSeq(0) || seq > head.last_seq) return Error(ErrorCode::NotFound, "the conversation has no such message");
  TRY_ASSIGN(const auto place, reader_->place_of(conversation, seq));
  if (!place) return {};
  TRY(recalls_->add(*place));
  indexer_->notify();
  return {};
}

Task<Result<FeedPage>> StoreParts::feed(LogPosition after, std::size_t max_messages) {
  return on_disk([this, after, max_messages] { return reader_->feed(after, max_messages); });
}

Task<Result<Follower>> StoreParts::register_follower(std::string name, LogPosition from) {
  return on_disk([this, name = std::move(name), from]() -> Result<Follower> {
    if (from > feed_end()) return Error(ErrorCode::BadRequest, "a follower begins within the log, as far as it is settled");
    return followers_->add(name, from);
  });
}

Task<Status> StoreParts::advance_follower(std::string name, LogPosition position) {
  return on_disk([this, name = std::move(name), position] { return followers_->advance(name, position, feed_end()); });
}

Task<Status> StoreParts::unregister_follower(std::string name) {
  return on_disk([this, name = std::move(name)] { return followers_->remove(name); });
}

StoreHealth StoreParts::health() const {
  if (committer_->failing()) return {false, true, "writing the message log fails; it is tried again all the time"};
  if (committer_->disk_low()) return {false, true, "the disk is full up to the reserve"};
  if (committer_->window_full()) return {false, true, "history is too far behind the log"};
  return {};
}

LogStats StoreParts::log_stats() const {
  const Committer::Stats& from = committer_->stats();
  LogStats stats;
  stats.batches = from.batches.load(std::memory_order_relaxed);
  stats.records = from.records.load(std::memory_order_relaxed);
  stats.syncs = from.syncs.load(std::memory_order_relaxed);
  stats.commit_ns = from.commit_ns.load(std::memory_order_relaxed);
  stats.failovers = from.failovers.load(std::memory_order_relaxed);
  stats.cursor_bytes = from.cursor_bytes.load(std::memory_order_relaxed);
  stats.window_bytes = window_->record_bytes();
  stats.log_bytes = window_->waiting_bytes();
  stats.kept_bytes = kept_->bytes();
  stats.recalls_waiting = recalls_->waiting();
  return stats;
}

Status StoreParts::flush_to_history(std::chrono::milliseconds deadline) {
  Status sealed;
  TRY(committer_->run_between_batches([&] { sealed = writer_->seal(); }));
  TRY(std::move(sealed));
  const auto end = std::chrono::steady_clock::now() + deadline;
  while (window_->oldest_sealed() != nullptr) {
    if (std::chrono::steady_clock::now() > end) return Error(ErrorCode::Timeout, "history is still behind the log");
    indexer_->notify();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return {};
}

void StoreParts::wait_for_reads() {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while ((intake_->busy() || reads_.load(std::memory_order_acquire) != 0) && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

void StoreParts::close() {
  if (closed_) return;
  closed_ = true;
  closing_.store(true, std::memory_order_release);
  if (!indexer_) return;                           // open() failed half-way
  const std::lock_guard no_backup(backup_mutex_);  // one under way stops at its next piece
  wait_for_reads();
  indexer_->stop();
  meta_.clean = committer_->end_log().ok();
  meta_.end = committer_->settled();
  if (meta_.clean) {
    meta_.weak_acks = false;
    meta_.acked_in.reset();
  }
  if (meta_.clean) ignore(write_meta(*files_, options_.path, meta_));
}

}  // namespace dunlin::embedded

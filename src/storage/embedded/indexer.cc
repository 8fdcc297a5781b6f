#include "storage/embedded/indexer.h"

#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>

#include "base/log.h"

namespace dunlin::embedded {
namespace {

constexpr std::size_t kManyFiles = 4;  // of segments of 16 MB: half of the window's bound, when they are full

}  // namespace

Indexer::Indexer(IndexerOptions options, FileSystem& files, History& history, const Log& log)
    : options_(std::move(options)),
      fs_(files),
      history_(history),
      window_(log.window),
      pool_(log.pool),
      kept_(log.kept),
      followers_(log.followers),
      queue_(log.queue),
      committer_(log.committer),
      recalls_(log.recalls),
      retained_(history.trimmed_through()) {}

Indexer::~Indexer() {
  stop();
}

void Indexer::start() {
  thread_ = std::thread([this] { run(); });
}

void Indexer::stop() {
  if (!thread_.joinable()) return;
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  // What it has begun must come to its end, also on a machine that leaves no time to an idle thread.
  ending_.store(true);
  set_priority();
  changed_.notify_all();
  thread_.join();
}

void Indexer::notify() {
  set_priority();  // an idle thread may not get to raise itself
  {
    MutexLock lock(mutex_);
    notified_ = true;
  }
  changed_.notify_one();
}

void Indexer::run() {
  rlimit limit{};
  thread_id_ = ::gettid();
  ::pthread_setname_np(::pthread_self(), "indexer");
  may_be_idle_ = ::geteuid() == 0 || (::getrlimit(RLIMIT_NICE, &limit) == 0 && limit.rlim_cur >= 20);
  while (true) {
    work();
    MutexLock lock(mutex_);
    if (stopping_) return;
    if (!notified_) changed_.wait_for(mutex_, std::chrono::milliseconds(200));
    notified_ = false;
    if (stopping_) return;
  }
}

void Indexer::work() {
  working_.store(true, std::memory_order_release);
  set_priority();
  check_space();
  while (options_.ingest && ingest_one()) {
    set_priority();
    // All of it also while a backlog lasts, which may be long.
    check_space();
    tend_files();
    retain();
    MutexLock lock(mutex_);
    if (stopping_) break;
  }
  tend_files();
  retain();
  working_.store(false, std::memory_order_release);
}

void Indexer::tend_files() {
  free_passed();
  kept_.cool();
  give_held();
  tend_recalls();
  const Status spares = pool_.maintain();
  if (!spares.ok() && !spare_alarm_) log_warn("store", "no spare segment could be made", {{"error", spares.error().to_string()}});
  spare_alarm_ = !spares.ok();
}

// A segment that waits for history comes first.
void Indexer::tend_recalls() {
  bool held = false;
  {
    MutexLock lock(mutex_);
    held = holding_;
  }
  recalls_.work(held, [this] {
    if (options_.ingest && window_.oldest_sealed() != nullptr) return true;
    MutexLock lock(mutex_);
    return stopping_;
  });
}

bool Indexer::ingest_one() {
  WindowPart* part = window_.oldest_sealed();
  if (part == nullptr) return false;
  SealedSegment segment;
  segment.id = part->last.value();
  segment.first = part->first;
  segment.last = part->last;
  if (!part->records.empty()) {
    segment.first_time_ms = part->records.front()->place().time_ms;
    segment.last_time_ms = part->records.back()->place().time_ms;
  }
  std::vector<MessagePtr> stripped;
  const std::vector<RecalledRecord> recalled = recalls_.strip(part->records, stripped);
  segment.records = recalled.empty() ? part->records : stripped;
  segment.dedup = part->dedup;
  segment.lost = part->lost;
  log_debug("store", "indexer: segment begins", {{"records", segment.records.size()}, {"last", segment.last.value()}});
  // When what comes behind it failed before, the segment is in history already, which refuses a repeat.
  Status done;
  if (options_.keep_cursors) done = options_.keep_cursors(segment.last);
  if (done.ok() && segment.last > history_.position()) {
    done = history_.ingest(segment);
    if (done.ok()) recalls_.handed_over(recalled);
  }
  if (done.ok() && options_.sync_state) done = options_.sync_state();
  if (!done.ok()) {
    if (!ingest_alarm_) log_error("store", "a segment cannot enter history; tried again", {{"error", done.error().to_string()}});
    ingest_alarm_ = true;
    return false;
  }
  ingest_alarm_ = false;
  {
    // In one step for a backup, which must find each file in the window or among those that are not free.
    MutexLock lock(mutex_);
    kept_.add({window_.mark_ingested(*part), segment.first, segment.last});  // the part may go at any time from here
  }
  queue_.nudge();
  if (options_.fault_point) options_.fault_point("recycle");
  log_debug("store", "indexer: segment done", {{"last", segment.last.value()}});
  return true;
}

// What all followers have is free; those that are too far behind are marked first, and nothing of theirs goes before that is durable.
void Indexer::free_passed() {
  const auto excess = kept_.excess(options_.kept_bytes);
  bool all_marked = !excess || leave_behind(*excess, "store.log.max-bytes");
  // What retention has taken from history and the log does not hold either is gone for a follower.
  const LogPosition trimmed = history_.trimmed_through();
  for (const Follower& follower : followers_.all()) {
    const bool lost = !follower.reset && follower.position < trimmed && !kept_.covers(follower.position, trimmed);
    if (lost) all_marked = leave_behind(follower.position.next(), "retention") && all_marked;
  }
  follower_alarm_ = !all_marked;
  const LogPosition passed = followers_.passed();
  MutexLock lock(mutex_);
  if (holding_) return;
  for (auto& file : kept_.take_passed(passed)) held_.push_back(std::move(file));
}

bool Indexer::leave_behind(LogPosition needed, std::string_view why) {
  const auto left = followers_.leave_behind(needed);
  if (!left.ok()) {
    if (!follower_alarm_) log_error("store", "followers cannot be marked; tried again", {{"error", left.error().to_string()}});
    return false;
  }
  for (const std::string& name : *left) {
    log_error("store", "a follower is too far behind and is left: it has to begin anew",
              {{"follower", name}, {"limit", why}, {"needed", needed.value()}});
  }
  return true;
}

void Indexer::recycle(const std::string& file) {
  MutexLock lock(mutex_);
  held_.push_back(file);
}

// Files go back in order, and not while a backup reads them or a void segment waits to be overwritten (see SegmentPool).
void Indexer::give_held() {
  std::vector<std::string> free;
  {
    // The files are looked at without the mutex, for which a commit may wait.
    MutexLock lock(mutex_);
    if (holding_ || pool_.has_dirty()) return;
    free.swap(held_);
  }
  for (const auto& file : free) {
    auto opened = fs_.open(pool_.path(file), OpenMode::Read);
    const auto size = opened.ok() ? (*opened)->size() : Result<std::uint64_t>(0);
    pool_.give(file, size.ok() && *size == pool_.segment_bytes());
  }
}

void Indexer::hold_files(bool hold) {
  MutexLock lock(mutex_);
  holding_ = hold;
  held_from_ = history_.position();
}

std::vector<std::string> Indexer::held_files() {
  MutexLock lock(mutex_);
  std::vector<std::string> files = held_;
  for (auto& file : kept_.files_above(held_from_)) files.push_back(std::move(file));
  return files;
}

void Indexer::check_space() {
  const auto space = fs_.space(options_.data_folder);
  if (!space.ok()) return;
  const auto share = static_cast<std::uint64_t>(static_cast<double>(space->total_bytes) * options_.reserve_fraction);
  const bool low = space->free_bytes < std::min(share, options_.reserve_bytes_max);
  if (low != committer_.disk_low()) {
    log_warn("store", low ? "the disk is full up to its reserve: sends are refused" : "the disk has space again",
             {{"free_bytes", space->free_bytes}});
  }
  committer_.set_disk_low(low);
}

void Indexer::retain() {
  const auto now = options_.clock->monotonic();
  if (now < next_retain_) return;
  next_retain_ = now + options_.retain_every;
  if (auto done = history_.retain(options_.clock->wall()); !done.ok()) {
    log_error("store", "retention failed", {{"error", done.error().to_string()}});
  }
  if (const LogPosition trimmed = history_.trimmed_through(); trimmed != retained_) {
    retained_ = trimmed;
    window_.trim(trimmed);
    queue_.nudge();
    if (options_.fault_point) options_.fault_point("trimmed");
  }
}

void Indexer::set_priority() {
  // Files, too: lives that end soon leave segments with little in them, which a busy machine would let pile up.
  const bool raise = ending_.load() || window_.waiting_bytes() > options_.window_bytes / 2 || window_.files().size() > kManyFiles;
  const pid_t thread = thread_id_.load();
  if (thread == 0 || raised_.exchange(raise) == raise) return;
  const sched_param none{};
  // Failing is fine: only the share of the processor differs.
  static_cast<void>(::sched_setscheduler(thread, raise ? SCHED_OTHER : may_be_idle_ ? SCHED_IDLE : SCHED_BATCH, &none));
}

}  // namespace dunlin::embedded

#include "storage/embedded/history/eraser.h"

#include <pthread.h>
#include <rocksdb/db.h>
#include <rocksdb/metadata.h>
#include <rocksdb/sst_file_reader.h>

#include <algorithm>
#include <chrono>
#include <filesystem>

#include "base/log.h"
#include "storage/embedded/history/covered_rows.h"
#include "storage/embedded/history/timeline_files.h"

namespace dunlin::embedded {
namespace {

// Reads and backups end sooner; after it the caller begins again later.
constexpr std::chrono::minutes kPatience{10};
constexpr std::chrono::milliseconds kLookEvery{50};

Error cancelled() {
  return Error(ErrorCode::Busy, "the erase was cancelled");
}

}  // namespace

Eraser::Eraser(Context context, std::vector<Part> parts)
    : context_(std::move(context)),
      parts_(std::move(parts)),
      sequence_(context_.db->GetLatestSequenceNumber()),
      old_files_(files_on_disk()),
      thread_([this] { run(); }) {}

Eraser::~Eraser() {
  const bool ended = outcome().has_value();
  cancelled_ = true;
  wake_.notify_all();
  if (!ended) context_.db->DisableManualCompaction();  // also one that RocksDB has not begun yet
  thread_.join();
  if (!ended) context_.db->EnableManualCompaction();
}

std::optional<Eraser::Outcome> Eraser::outcome() const {
  MutexLock lock(mutex_);
  return outcome_;
}

void Eraser::run() {
  ::pthread_setname_np(::pthread_self(), "eraser");
  Status status = erase(std::exchange(parts_, {}));
  MutexLock lock(mutex_);
  outcome_ = Outcome{std::move(status), std::move(kept_)};
}

Status Eraser::erase(std::vector<Part> parts) {
  if (!old_files_) return Error(ErrorCode::Io, "listing " + context_.folder);
  Status first_failure;
  for (const Part& part : parts) {
    Status status = erase(part);
    if (cancelled_) return cancelled();
    if (!status.ok() && first_failure.ok()) first_failure = std::move(status);
  }
  TRY(first_failure);
  parts.clear();  // a family that was dropped meanwhile lets go of its files
  return wait_until("files", [this] { return old_files_are_gone(); });
}

Status Eraser::erase(const Part& part) {
  const auto keep = [&] {
    kept_.insert(kept_.end(), part.records.begin(), part.records.end());
    return Status();
  };
  if (part.timeline->damaged()) return keep();
  TRY_ASSIGN(const bool needed, holds_content(part));
  if (part.timeline->damaged()) return keep();
  if (!needed) return {};
  TRY(wait_until("reads", [this] { return old_views_are_gone(); }));
  if (context_.fault_point) context_.fault_point("erase_compact");
  const Status compacted = compact(part);
  if (context_.fault_point) context_.fault_point("erase_compacted");
  if (!context_.in_use(*part.timeline)) return {};  // retention took all of it
  if (part.timeline->damaged()) return keep();
  TRY(compacted);
  TRY_ASSIGN(const bool left, holds_content(part));
  if (part.timeline->damaged()) return keep();
  if (left) return Error(ErrorCode::Internal, "content of recalled messages is left in " + part.timeline->name());
  return {};
}

// Of the whole family. Beside it ingests go on, and RocksDB's own compactions as far as there are threads for them.
Status Eraser::compact(const Part& part) {
  if (cancelled_) return cancelled();
  rocksdb::CompactRangeOptions options;
  options.exclusive_manual_compaction = false;
  options.bottommost_level_compaction = rocksdb::BottommostLevelCompaction::kForce;
  options.allow_write_stall = true;  // nothing here ever stalls a write, so there is nothing to wait for
  options.canceled = &cancelled_;
  const rocksdb::Status status = context_.db->CompactRange(options, part.timeline->handle(), nullptr, nullptr);
  if (cancelled_) return cancelled();
  if (is_damage(status)) context_.damage->found(*part.timeline, status);
  if (!status.ok()) return rocks_error("erasing from " + part.timeline->name(), status);
  return {};
}

// Whether some file holds content under one of the keys, or may.
Result<bool> Eraser::holds_content(const Part& part) const {
  const auto key_of = [](const RecalledRecord& record) { return TimelineKey(record.conversation_number, record.seq); };
  const TimelineFiles files({&part.timeline, 1}, key_of(part.records.front()).view(), key_of(part.records.back()).view());
  for (const auto& file : files.files()) {
    if (cancelled_) return cancelled();
    if (!file->rows) {
      context_.damage->found(*part.timeline, rocksdb::Status::Corruption("a file cannot be opened"));
      return true;
    }
    if (has_covered_rows(*file->reader->GetTableProperties())) return true;
    for (const RecalledRecord& record : part.records) {
      const TimelineKey key = key_of(record);
      if (key.view() < file->smallest || key.view() > file->largest) continue;
      const rocksdb::Slice wanted(key.view().data(), key.view().size());
      file->rows->Seek(wanted);
      if (!file->rows->status().ok()) {
        context_.damage->found(*part.timeline, file->rows->status());
        return true;
      }
      if (file->rows->Valid() && file->rows->key() == wanted && !is_recalled_value(file->rows->value().ToStringView())) return true;
    }
  }
  return false;
}

Status Eraser::wait_until(std::string_view what, const std::function<bool()>& reached) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (!reached()) {
    if (cancelled_) return cancelled();
    if (std::chrono::steady_clock::now() > deadline) return Error(ErrorCode::Busy, std::string(what) + " hold recalled messages");
    MutexLock lock(mutex_);
    if (!cancelled_) wake_.wait_for(mutex_, kLookEvery);
  }
  return {};
}

bool Eraser::old_views_are_gone() const {
  std::uint64_t oldest = 0;
  return context_.db->GetIntProperty(rocksdb::DB::Properties::kOldestSnapshotSequence, &oldest) && (oldest == 0 || oldest >= sequence_);
}

// Those that RocksDB does not use any more may be held by reads, by a backup, or since the manifest is in doubt (ManifestGuard).
bool Eraser::old_files_are_gone() const {
  // When an ingest beside is the last that holds a replaced file, RocksDB 7.8 lets go of it without deleting it, until something makes it
  // look through its folder. The end of a ban on deletions does.
  constexpr bool kForce = false;  // others may hold deletions back too
  context_.db->DisableFileDeletions().PermitUncheckedError();
  context_.db->EnableFileDeletions(kForce).PermitUncheckedError();
  const auto left = files_on_disk();
  if (!left) return false;
  std::vector<rocksdb::LiveFileMetaData> live;
  context_.db->GetLiveFilesMetaData(&live);
  std::set<std::string> used;
  for (const auto& file : live) used.insert(file.relative_filename);
  return std::ranges::none_of(*old_files_, [&](const std::string& name) { return left->contains(name) && !used.contains(name); });
}

std::optional<std::set<std::string>> Eraser::files_on_disk() const {
  std::set<std::string> names;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(context_.folder, error), end; !error && entry != end; entry.increment(error)) {
    if (entry->path().extension() == ".sst") names.insert(entry->path().filename());
  }
  if (error) return std::nullopt;
  return names;
}

}  // namespace dunlin::embedded

#include <algorithm>
#include <filesystem>

#include "storage/embedded/file/owner_only.h"
#include "storage/embedded/store_parts.h"

namespace dunlin::embedded {
namespace {

constexpr std::size_t kChunk = 4U << 20;

}  // namespace

Status StoreParts::backup_to(const std::string& folder, const std::function<bool(const BackupProgress&)>& progress) {
  const std::lock_guard one_at_a_time(backup_mutex_);
  if (closing_.load(std::memory_order_acquire)) return Error(ErrorCode::StoreUnavailable, "the store is closing");
  TRY(make_empty_for_owner(*files_, folder));
  // From here on no segment is overwritten: what the copies of state and history do not hold is in the log that is copied after them.
  indexer_->hold_files(true);
  auto done = [&]() -> Status {
    TRY(state_->checkpoint(folder + "/state"));
    TRY(history_->checkpoint(folder + "/history"));
    TRY(copy_log(folder, progress));
    Meta meta;
    TRY(committer_->run_between_batches([&] { meta = meta_; }));  // the committer changes it
    meta.clean = meta.weak_acks = false;                          // the log was synced to where it is copied
    meta.acked_in.reset();
    return write_meta(*files_, folder, meta);
  }();
  indexer_->hold_files(false);
  indexer_->notify();
  return done;
}

Status StoreParts::copy_log(const std::string& folder, const std::function<bool(const BackupProgress&)>& progress) {
  struct Piece {
    std::string file;
    std::uint64_t bytes;
  };
  std::vector<Piece> pieces;
  Status synced;
  const auto list_files = [&] {
    synced = writer_->sync();
    // The window first: a segment that enters history meanwhile moves from there to the held ones. Those may be newer than the copy of
    // history, which was made before.
    for (const auto& file : window_->files()) pieces.push_back({file, options_.segment_bytes});
    for (const auto& file : indexer_->held_files()) {
      const bool listed = std::any_of(pieces.begin(), pieces.end(), [&](const Piece& piece) { return piece.file == file; });
      if (!listed) pieces.push_back({file, options_.segment_bytes});
    }
    const LogPlace end = writer_->synced_place();
    if (!writer_->current_file().empty() && end.offset != 0) pieces.push_back({writer_->current_file(), end.offset});
  };
  TRY(committer_->run_between_batches(list_files));
  TRY(std::move(synced));
  TRY(files_->make_folder(folder + "/log"));
  BackupProgress told;
  for (const auto& piece : pieces) told.total_bytes += piece.bytes;
  for (const auto& piece : pieces) {
    TRY_ASSIGN(const auto from, files_->open(pool_->path(piece.file), OpenMode::Read));
    TRY_ASSIGN(const auto to, files_->open(folder + "/log/" + piece.file, OpenMode::Create));
    TRY(to->truncate(0));
    for (std::uint64_t at = 0; at < piece.bytes;) {
      if (closing_.load(std::memory_order_acquire)) return Error(ErrorCode::StoreUnavailable, "the store is closing");
      std::string chunk;
      TRY(from->read(at, std::min<std::uint64_t>(kChunk, piece.bytes - at), chunk));
      if (chunk.empty()) break;
      TRY(to->write(at, chunk));
      at += chunk.size();
      told.done_bytes += chunk.size();
      if (progress && !progress(told)) return Error(ErrorCode::StoreUnavailable, "the backup was given up before its end");
    }
    TRY(to->sync_data());
  }
  TRY(files_->sync_folder(folder + "/log"));
  return files_->sync_folder(folder);
}

}  // namespace dunlin::embedded

#include <rocksdb/db.h>

#include <algorithm>
#include <span>

#include "base/log.h"
#include "storage/embedded/history/rocks_history.h"
#include "storage/embedded/history/sorted_file.h"

namespace dunlin::embedded {
namespace {

constexpr std::size_t kRowsAtOnce = 256;

}  // namespace

// The rows without content are in when this returns, so that reads find them; what they cover is the Eraser's part.
Status RocksHistory::begin_erase(std::vector<RecalledRecord> records) {
  if (eraser_) return Error(ErrorCode::Busy, "an erase has not ended yet");
  TRY(prepare_write());
  const CatalogPtr now = catalog();
  const auto key_of = [](const RecalledRecord& r) { return std::pair(r.conversation_number, r.seq); };
  std::ranges::sort(records, {}, key_of);
  records.erase(std::ranges::unique(records, {}, key_of).begin(), records.end());
  SortedFiles files(incoming_folder(), cache_);
  std::vector<Eraser::Part> parts;
  for (const Volume& volume : now->volumes) {
    Eraser::Part part{volume.timeline, {}};
    std::ranges::copy_if(records, std::back_inserter(part.records),
                         [&](const RecalledRecord& r) { return r.position >= volume.span.first && r.position <= volume.span.last; });
    if (part.records.empty()) continue;
    TRY(write_recalled_rows(*now, part, files.begin(volume.timeline)));
    if (!part.records.empty()) parts.push_back(std::move(part));
  }
  TRY(files.finish());
  if (std::ranges::any_of(files.files(), [](const auto& file) { return file->written(); })) TRY(ingest_files(files));
  fault_point("erase_ingest");
  publish(Catalog(*now));  // whose view is above the new rows: from here on nothing of ours needs the old ones
  const auto in_use = [this](const Column& column) {
    const CatalogPtr all = catalog();
    return std::ranges::any_of(all->volumes, [&](const Volume& volume) { return volume.timeline.get() == &column; });
  };
  not_erased_.clear();
  eraser_ = std::make_unique<Eraser>(Eraser::Context{db_.get(), options_.path, &damage_, in_use, options_.fault_point}, std::move(parts));
  return {};
}

std::optional<Status> RocksHistory::erase_done() {
  if (!eraser_) return std::nullopt;
  let_files_go();  // its own compaction may have begun the new manifest, and no segment may come for a while
  auto outcome = eraser_->outcome();
  if (!outcome) return std::nullopt;
  eraser_.reset();
  not_erased_ = std::move(outcome->kept);
  if (not_erased_.size() > told_not_erased_) {
    log_error("history", "recalled messages stand in damaged files, which are not rewritten: hidden, their content stays until it expires",
              {{"messages", not_erased_.size()}});
  }
  told_not_erased_ = not_erased_.size();
  return std::move(outcome->status);
}

// A row without content for each record of `part` that has one with content. What has no row (any more), or is lost, leaves the part.
Status RocksHistory::write_recalled_rows(const Catalog& catalog, Eraser::Part& part, SortedFile& file) {
  rocksdb::ReadOptions options;
  options.snapshot = catalog.view.get();
  options.fill_cache = false;
  std::vector<RecalledRecord> found;
  std::string row;
  for (std::span<const RecalledRecord> left = part.records; !left.empty();) {
    const auto records = left.first(std::min(left.size(), kRowsAtOnce));
    left = left.subspan(records.size());
    std::vector<TimelineKey> bytes;
    std::vector<rocksdb::Slice> keys;
    bytes.reserve(records.size());
    for (const RecalledRecord& record : records) {
      bytes.emplace_back(record.conversation_number, record.seq);
      keys.emplace_back(bytes.back().view().data(), bytes.back().view().size());
    }
    std::vector<rocksdb::PinnableSlice> values(records.size());
    std::vector<rocksdb::Status> statuses(records.size());
    constexpr bool kSorted = true;
    db_->MultiGet(options, part.timeline->handle(), keys.size(), keys.data(), values.data(), statuses.data(), kSorted);
    rows_read_.fetch_add(records.size(), std::memory_order_relaxed);
    for (std::size_t i = 0; i < records.size(); ++i) {
      const std::string_view key = bytes[i].view();
      if (statuses[i].IsNotFound()) continue;
      const MessagePtr message = statuses[i].ok() ? decode_record(key, values[i].ToStringView()) : MessagePtr();
      if (message && message->place().position != records[i].position) continue;
      if (!message) {
        if (statuses[i].ok() && is_lost_record(key, values[i].ToStringView())) continue;
        if (!statuses[i].ok() && !is_damage(statuses[i])) return rocks_error("a recalled message", statuses[i]);
        if (statuses[i].ok()) {
          damage_.row_found(*part.timeline, "timeline");
        } else {
          damage_.found(*part.timeline, statuses[i]);
        }
      }
      found.push_back(records[i]);
      if (!message || message->is_recalled()) continue;
      encode_record(key, *Message::recalled(*message), row);
      if (!file.put(key, row)) return {};  // finish() tells why
    }
  }
  part.records = std::move(found);
  return {};
}

}  // namespace dunlin::embedded

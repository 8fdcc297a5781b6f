#include <rocksdb/db.h>

#include <algorithm>

#include "storage/embedded/history/rocks_history.h"
#include "storage/embedded/history/sorted_file.h"

namespace dunlin::embedded {
namespace {

constexpr std::size_t kRowsAtOnce = 256;

}  // namespace

Status RocksHistory::begin_erase(std::vector<RecalledRecord> records) {
  if (erased_) return Error(ErrorCode::Busy, "an erase has not ended yet");
  TRY(prepare_write());
  const CatalogPtr now = catalog();
  std::ranges::sort(records, {}, [](const RecalledRecord& r) { return std::pair(r.conversation_number, r.seq); });
  SortedFiles files(incoming_folder(), cache_);
  for (const Volume& volume : now->volumes) {
    std::vector<RecalledRecord> here;
    std::ranges::copy_if(records, std::back_inserter(here),
                         [&](const RecalledRecord& r) { return r.position >= volume.span.first && r.position <= volume.span.last; });
    if (!here.empty()) TRY(write_recalled_rows(*now, volume, here, files.begin(volume.timeline)));
  }
  TRY(files.finish());
  if (std::ranges::any_of(files.files(), [](const auto& file) { return file->written(); })) {
    TRY(ingest_files(files));
    publish(Catalog(*now));
  }
  erased_ = Status();
  return {};
}

std::optional<Status> RocksHistory::erase_done() {
  return std::exchange(erased_, std::nullopt);
}

std::vector<RecalledRecord> RocksHistory::not_erased() const {
  return {};
}

// A row without content for each of `records` (in key order) that has one with content.
Status RocksHistory::write_recalled_rows(const Catalog& catalog, const Volume& volume, std::span<const RecalledRecord> records,
                                         SortedFile& file) {
  rocksdb::ReadOptions options;
  options.snapshot = catalog.view.get();
  options.fill_cache = false;
  std::string row;
  while (!records.empty()) {
    const auto part = records.first(std::min(records.size(), kRowsAtOnce));
    records = records.subspan(part.size());
    std::vector<TimelineKey> bytes;
    std::vector<rocksdb::Slice> keys;
    bytes.reserve(part.size());
    for (const RecalledRecord& record : part) {
      bytes.emplace_back(record.conversation_number, record.seq);
      keys.emplace_back(bytes.back().view().data(), bytes.back().view().size());
    }
    std::vector<rocksdb::PinnableSlice> values(part.size());
    std::vector<rocksdb::Status> statuses(part.size());
    constexpr bool kSorted = true;
    db_->MultiGet(options, volume.timeline->handle(), keys.size(), keys.data(), values.data(), statuses.data(), kSorted);
    rows_read_.fetch_add(part.size(), std::memory_order_relaxed);
    for (std::size_t i = 0; i < part.size(); ++i) {
      if (statuses[i].IsNotFound()) continue;
      if (!statuses[i].ok()) {
        if (!is_damage(statuses[i])) return rocks_error("a recalled message", statuses[i]);
        damage_.found(*volume.timeline, statuses[i]);
        continue;
      }
      const std::string_view value = values[i].ToStringView();
      const MessagePtr message = decode_record(bytes[i].view(), value);
      if (!message && !is_lost_record(bytes[i].view(), value)) damage_.row_found(*volume.timeline, "timeline");
      if (!message || message->is_recalled() || message->position() != part[i].position) continue;
      encode_record(bytes[i].view(), *Message::recalled(*message), row);
      if (!file.put(bytes[i].view(), row)) return {};  // finish() tells why
    }
  }
  return {};
}

}  // namespace dunlin::embedded

#include "storage/embedded/history/salvage.h"

#include <rocksdb/db.h>
#include <rocksdb/metadata.h>
#include <rocksdb/sst_file_reader.h>

namespace dunlin::embedded {

struct Salvage::File {
  explicit File(const rocksdb::Options& options) : reader(options) {}
  rocksdb::SstFileReader reader;
  std::unique_ptr<rocksdb::Iterator> rows;
};

Salvage::Salvage(std::span<const ColumnPtr> timelines, std::uint64_t number) : number_(number) {
  if (timelines.empty()) return;
  db_ = &timelines.front()->db();
  db_->DisableFileDeletions().PermitUncheckedError();
  const TimelineKey first(number, MessageSeq(0));
  const TimelineKey last(number, MessageSeq(UINT64_MAX));
  for (const auto& column : timelines) {
    rocksdb::ColumnFamilyMetaData family;
    db_->GetColumnFamilyMetaData(column->handle(), &family);
    const rocksdb::Options options(history_db_options(nullptr), history_column_options(Family::Timeline, nullptr));
    for (const auto& level : family.levels) {
      for (const auto& meta : level.files) {
        if (std::string_view(meta.largestkey) < first.view() || std::string_view(meta.smallestkey) > last.view()) continue;
        auto file = std::make_unique<File>(options);
        if (!file->reader.Open(meta.db_path + meta.name).ok()) continue;  // nothing of it can be read
        rocksdb::ReadOptions all_rows;
        all_rows.total_order_seek = true;  // a damaged filter must not hide rows
        file->rows.reset(file->reader.NewIterator(all_rows));
        files_.push_back(std::move(file));
      }
    }
  }
}

Salvage::~Salvage() {
  files_.clear();
  constexpr bool kForce = false;  // other salvages may hold deletions back too
  if (db_) db_->EnableFileDeletions(kForce).PermitUncheckedError();
}

std::optional<std::string> Salvage::row(MessageSeq seq) {
  const TimelineKey key(number_, seq);
  const rocksdb::Slice wanted(key.view().data(), key.view().size());
  for (const auto& file : files_) {
    file->rows->Seek(wanted);
    if (file->rows->Valid() && file->rows->key() == wanted) return file->rows->value().ToString();
  }
  return std::nullopt;
}

}  // namespace dunlin::embedded

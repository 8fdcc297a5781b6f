#include "storage/embedded/history/timeline_files.h"

#include <rocksdb/db.h>
#include <rocksdb/metadata.h>
#include <rocksdb/sst_file_reader.h>

#include <algorithm>

namespace dunlin::embedded {

TimelineFiles::File::File() = default;
TimelineFiles::File::~File() = default;

TimelineFiles::TimelineFiles(std::span<const ColumnPtr> timelines, std::string_view first_key, std::string_view last_key) {
  if (timelines.empty()) return;
  db_ = &timelines.front()->db();
  db_->DisableFileDeletions().PermitUncheckedError();
  const rocksdb::Options options(history_db_options(nullptr), history_column_options(Family::Timeline, nullptr));
  for (const auto& column : timelines) {
    rocksdb::ColumnFamilyMetaData family;
    db_->GetColumnFamilyMetaData(column->handle(), &family);
    std::vector<rocksdb::SstFileMetaData> of_family;
    for (const auto& level : family.levels) of_family.insert(of_family.end(), level.files.begin(), level.files.end());
    // All are of one level, where no two files have rows of the same age.
    std::ranges::sort(of_family, std::greater<>(), &rocksdb::SstFileMetaData::largest_seqno);
    for (const auto& meta : of_family) {
      if (std::string_view(meta.largestkey) < first_key || std::string_view(meta.smallestkey) > last_key) continue;
      auto file = std::make_unique<File>();
      file->smallest = meta.smallestkey;
      file->largest = meta.largestkey;
      file->reader = std::make_unique<rocksdb::SstFileReader>(options);
      if (file->reader->Open(meta.db_path + meta.name).ok()) {
        rocksdb::ReadOptions all_rows;
        all_rows.total_order_seek = true;  // a damaged filter must not hide rows
        file->rows.reset(file->reader->NewIterator(all_rows));
      }
      files_.push_back(std::move(file));
    }
  }
}

TimelineFiles::~TimelineFiles() {
  files_.clear();
  constexpr bool kForce = false;  // others may hold deletions back too
  if (db_) db_->EnableFileDeletions(kForce).PermitUncheckedError();
}

}  // namespace dunlin::embedded

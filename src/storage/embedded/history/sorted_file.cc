#include "storage/embedded/history/sorted_file.h"

#include <rocksdb/db.h>
#include <rocksdb/options.h>
#include <rocksdb/sst_file_writer.h>

#include <filesystem>
#include <optional>

namespace dunlin::embedded {

struct SortedFile::Writer {
  rocksdb::Options options;
  std::optional<rocksdb::SstFileWriter> file;
  rocksdb::Status status;
};

SortedFile::SortedFile(ColumnPtr column, std::string path, const std::shared_ptr<rocksdb::Cache>& cache)
    : column_(std::move(column)), path_(std::move(path)), writer_(std::make_unique<Writer>()) {
  writer_->options = rocksdb::Options(history_db_options(nullptr), history_column_options(column_->family(), cache));
  writer_->options.env = column_->db().GetEnv();
}

SortedFile::~SortedFile() = default;

bool SortedFile::begin() {
  if (!writer_->file) {
    // Not dropped from the page cache: compaction will read it soon.
    constexpr bool kDropFromPageCache = false;
    writer_->file.emplace(rocksdb::EnvOptions(writer_->options), writer_->options, nullptr, kDropFromPageCache);
    writer_->status = writer_->file->Open(path_);
  }
  return writer_->status.ok();
}

bool SortedFile::put(std::string_view key, std::string_view value) {
  if (!begin()) return false;
  writer_->status = writer_->file->Put({key.data(), key.size()}, {value.data(), value.size()});
  return writer_->status.ok();
}

bool SortedFile::remove(std::string_view key) {
  if (!begin()) return false;
  writer_->status = writer_->file->Delete({key.data(), key.size()});
  return writer_->status.ok();
}

Status SortedFile::finish() {
  if (writer_->file && writer_->status.ok()) writer_->status = writer_->file->Finish();
  if (!writer_->status.ok()) return rocks_error("writing " + path_, writer_->status);
  return {};
}

bool SortedFile::written() const {
  return writer_->file.has_value();
}

SortedFiles::~SortedFiles() {
  std::error_code ignored;  // what remains all the same is removed at the next open
  for (const auto& file : files_) std::filesystem::remove(file->path(), ignored);
}

SortedFile& SortedFiles::begin(const ColumnPtr& column) {
  files_.push_back(std::make_unique<SortedFile>(column, folder_ + "/" + column->name() + ".sst", cache_));
  return *files_.back();
}

Status SortedFiles::finish() {
  for (const auto& file : files_) TRY(file->finish());
  return {};
}

}  // namespace dunlin::embedded

#include "storage/embedded/history/catalog.h"

#include <rocksdb/db.h>

namespace dunlin::embedded {

Column::~Column() {
  db_->DestroyColumnFamilyHandle(handle_).PermitUncheckedError();
}

std::uint64_t Column::file_bytes() const {
  std::uint64_t bytes = 0;
  db_->GetIntProperty(handle_, rocksdb::DB::Properties::kLiveSstFilesSize, &bytes);
  return bytes;
}

bool Column::contain() {
  if (damaged_.exchange(true, std::memory_order_acq_rel)) return false;
  db_->SetOptions(handle_, {{"disable_auto_compactions", "true"}}).PermitUncheckedError();
  return true;
}

std::string timeline_name(std::uint32_t volume) {
  return "timeline_" + std::to_string(volume);
}
std::string activity_name(std::uint32_t volume) {
  return "activity_" + std::to_string(volume);
}
std::string dedup_name(std::uint32_t generation) {
  return "dedup_" + std::to_string(generation);
}

Family family_of(const std::string& column_name) {
  if (column_name == "heads") return Family::Heads;
  if (column_name == "list") return Family::List;
  if (column_name.starts_with("timeline_")) return Family::Timeline;
  if (column_name.starts_with("activity_")) return Family::Activity;
  if (column_name.starts_with("dedup_")) return Family::Dedup;
  return Family::Meta;
}

}  // namespace dunlin::embedded

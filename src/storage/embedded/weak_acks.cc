#include "storage/embedded/weak_acks.h"

namespace dunlin::embedded {

Status note_weak_acks(FileSystem& files, const std::string& folder, Durability level, Meta& meta) {
  Meta noted = meta;
  noted.weak_acks = true;
  noted.acked_in = level == Durability::Memory ? std::nullopt : files.cache_life(folder + "/log");
  TRY(write_meta(files, folder, noted));
  meta = noted;
  return {};
}

Result<bool> weak_acks_may_be_gone(FileSystem& files, const std::string& folder, Meta& meta) {
  if (meta.clean || !meta.weak_acks) return false;
  const std::string log = folder + "/log";
  if (!meta.acked_in || meta.acked_in != files.cache_life(log)) return true;
  meta.acked_in.reset();
  TRY(write_meta(files, folder, meta));
  TRY_ASSIGN(const auto names, files.list(log));
  for (const std::string& name : names) {
    TRY_ASSIGN(const auto file, files.open(log + "/" + name, OpenMode::Read));
    if (!file->sync_data().ok()) return true;
  }
  return false;
}

}  // namespace dunlin::embedded

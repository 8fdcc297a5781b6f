#include "storage/embedded/file/small_file.h"

#include <algorithm>

namespace dunlin::embedded {

Result<std::optional<std::string>> read_small_file(FileSystem& files, const std::string& folder, const std::string& name,
                                                   std::size_t most) {
  TRY_ASSIGN(const auto names, files.list(folder));
  if (std::find(names.begin(), names.end(), name) == names.end()) return std::optional<std::string>();
  TRY_ASSIGN(const auto file, files.open(folder + "/" + name, OpenMode::Read));
  std::string bytes;
  TRY(file->read(0, most, bytes));
  return std::optional<std::string>(std::move(bytes));
}

Status replace_small_file(FileSystem& files, const std::string& folder, const std::string& name, std::string_view bytes) {
  const std::string path = folder + "/" + name;
  {
    TRY_ASSIGN(const auto file, files.open(path + ".new", OpenMode::Create));
    TRY(file->truncate(0));
    TRY(file->write(0, bytes));
    TRY(file->sync_data());
  }
  TRY(files.rename(path + ".new", path));
  return files.sync_folder(folder);
}

}  // namespace dunlin::embedded

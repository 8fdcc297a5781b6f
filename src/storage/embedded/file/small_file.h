#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "storage/embedded/file/file_system.h"

namespace dunlin::embedded {

// Files that are read and replaced as a whole: a reader, or a start after a power cut, finds the old content or the new.

// Up to `most` bytes; nothing when there is no such file.
Result<std::optional<std::string>> read_small_file(FileSystem& files, const std::string& folder, const std::string& name, std::size_t most);

// Durable when it returns. By way of `<name>.new`; one caller at a time for each file.
Status replace_small_file(FileSystem& files, const std::string& folder, const std::string& name, std::string_view bytes);

}  // namespace dunlin::embedded

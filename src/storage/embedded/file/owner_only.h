#pragma once

#include <string>
#include <string_view>

#include "storage/embedded/file/file_system.h"

namespace dunlin::embedded {

// Takes the rights of group and others from a data folder or backup and from all that a server keeps in it, so that what a wide umask, an
// earlier version or a copy has left open is closed; other files that lie there are not ours to judge. Says in one line of the log how many
// there were, and in a warning what could not be narrowed because it belongs to someone else (the root of a volume, say): that is no
// failure. Symbolic links below the folder are not followed. Blocks; any thread.
void keep_to_owner(const std::string& folder);

// Makes `folder`, which may exist if there is nothing in it but what a file system puts into its root, for a copy of a store. Config error
// if it is not empty.
Status make_empty_for_owner(FileSystem& files, const std::string& folder);
inline constexpr std::string_view kLostAndFound = "lost+found";

}  // namespace dunlin::embedded

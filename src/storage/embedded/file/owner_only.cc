#include "storage/embedded/file/owner_only.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <string_view>

#include "base/log.h"

namespace dunlin::embedded {
namespace {

namespace fs = std::filesystem;

struct Narrowed {
  std::uint64_t done = 0;
  std::uint64_t refused = 0;
  std::string first_refused;
  int reason = 0;
};

// The names of docs/storage.md, and the secrets that a server makes for itself.
bool is_ours(std::string_view name) {
  constexpr std::string_view kBegins[] = {"LOCK",  "meta",  "followers",    "log",     "history",     "state",
                                          "torn-", "probe", "control.sock", "reserve", "auth.secret", "sync.secret"};
  return std::any_of(std::begin(kBegins), std::end(kBegins), [&](std::string_view begin) { return name.starts_with(begin); });
}

void narrow(const std::string& path, Narrowed& count) {
  struct stat info{};
  if (::lstat(path.c_str(), &info) != 0 || S_ISLNK(info.st_mode) || (info.st_mode & 077) == 0) return;
  if (::chmod(path.c_str(), info.st_mode & 0700) == 0) {
    ++count.done;
    return;
  }
  if (count.refused++ == 0) {
    count.first_refused = path;
    count.reason = errno;
  }
}

}  // namespace

void keep_to_owner(const std::string& folder) {
  Narrowed count;
  std::error_code failed;
  const fs::path real = fs::canonical(folder, failed);
  if (failed) return;
  narrow(real.string(), count);
  fs::recursive_directory_iterator entry(real, fs::directory_options::skip_permission_denied, failed);
  for (; !failed && entry != fs::recursive_directory_iterator(); entry.increment(failed)) {
    if (entry.depth() == 0 && !is_ours(entry->path().filename().native())) {
      entry.disable_recursion_pending();
    } else {
      narrow(entry->path().string(), count);
    }
  }
  if (count.done != 0) {
    log_warn("store", "files that others could use are now for their owner alone", {{"folder", folder}, {"files", count.done}});
  }
  if (count.refused == 0) return;
  log_warn("store", "others may use files of this folder, and their rights cannot be changed",
           {{"folder", folder}, {"files", count.refused}, {"first", count.first_refused}, {"error", std::strerror(count.reason)}});
}

Status make_empty_for_owner(FileSystem& files, const std::string& folder) {
  TRY(files.make_folder(folder));
  TRY_ASSIGN(auto names, files.list(folder));
  std::erase(names, kLostAndFound);
  if (!names.empty()) return Error(ErrorCode::Config, "folder " + folder + " is not empty");
  keep_to_owner(folder);
  return {};
}

}  // namespace dunlin::embedded

#include "server/secret_file.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>

namespace dunlin {
namespace {

constexpr std::size_t kSecretBytes = 32;

Result<std::string> random_hex() {
  unsigned char bytes[kSecretBytes];
  if (getrandom(bytes, sizeof bytes, 0) != static_cast<ssize_t>(sizeof bytes)) return errno_error("getrandom", errno);
  std::string text;
  for (unsigned char byte : bytes) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

// Turns `draft` into `path` unless that exists (EEXIST), whole in one step; 0 or the reason. Not every volume has hard links, and not every
// one can rename in this way.
int give_name(const std::string& draft, const std::string& path) {
  if (renameat2(AT_FDCWD, draft.c_str(), AT_FDCWD, path.c_str(), RENAME_NOREPLACE) == 0) return 0;
  if (errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP) return errno;
  return link(draft.c_str(), path.c_str()) == 0 ? 0 : errno;
}

Status write_secret(const std::string& path, const std::string& secret) {
  const std::string draft = path + "." + std::to_string(getpid());
  const int fd = open(draft.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return errno_error("creating " + draft, errno);
  const bool written = write(fd, secret.data(), secret.size()) == static_cast<ssize_t>(secret.size()) && fsync(fd) == 0;
  const int write_errno = errno;
  close(fd);
  const int name_errno = written ? give_name(draft, path) : 0;
  unlink(draft.c_str());
  if (!written) return errno_error("writing " + draft, write_errno);
  if (name_errno != 0 && name_errno != EEXIST) return errno_error("creating " + path, name_errno);
  return {};
}

// Its parents may be anyone's.
Status make_private_folder(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder.parent_path(), error);
  if (error) return Error(ErrorCode::Io, "cannot create " + folder.parent_path().string() + ": " + error.message());
  if (mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) return errno_error("creating " + folder.string(), errno);
  return {};
}

}  // namespace

Result<SecretFile> read_or_make_secret(const std::string& path) {
  SecretFile secret;
  std::error_code error;
  if (!std::filesystem::exists(path, error)) {
    TRY(make_private_folder(std::filesystem::path(path).parent_path()));
    TRY_ASSIGN(const std::string made, random_hex());
    TRY(write_secret(path, made));
    secret.made_now = true;
  }
  std::ifstream in(path, std::ios::binary);
  secret.hex.assign(std::istreambuf_iterator<char>(in), {});
  while (!secret.hex.empty() && (secret.hex.back() == '\n' || secret.hex.back() == '\r')) secret.hex.pop_back();
  if (!in || secret.hex.size() < kSecretBytes) return Error(ErrorCode::Io, path + " cannot be read or is too short for a secret");
  return secret;
}

}  // namespace dunlin
